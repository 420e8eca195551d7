"""The engines that are measured, each with directories, daemons and settings of its own.

Nothing of the machine's own Podman or Docker is touched. Daemons belong to the benchmark and end with it, by pid.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from measure import Command

from support.commands import command as crate_command
from support.engines import Absent, Daemon, need
from support.people import Person

_WITHOUT = ("--network", "none", "--pull", "never")
_DOCKER_CLIENTS = ("/usr/bin/docker", "/usr/local/bin/docker")


def call(command: Command, timeout: float = 300) -> str:
    """Run an unmeasured step. Raises Absent where it fails."""
    options = {} if command.uid is None else {"user": command.uid, "group": command.gid, "extra_groups": []}
    done = subprocess.run(
        command.argv,
        env=command.env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        **options,
    )
    if done.returncode:
        raise Absent(f"{' '.join(command.argv[:3])}: {' '.join(done.stderr.split()) or 'failed'}")
    return done.stdout.strip()


def _readable(directory: Path) -> Path:
    directory.mkdir(mode=0o755, exist_ok=True)
    return directory


class Engine:
    """What the benchmarks ask of an engine."""

    name = ""
    daemons: tuple[int, ...] = ()
    _store = "run"  # the directory of the store that has containers

    def __init__(self, person: Person, directory: Path) -> None:
        self.person = person
        self.directory = person.directory(directory)

    def command(self, *argv: str | Path, **env: str) -> Command:
        return Command([str(word) for word in argv], self.person.environment(env), self.person.uid, self.person.gid)

    def version(self) -> str:
        """Return the version as the engine itself tells it, in one line."""
        raise NotImplementedError

    def load(self, archive: Path, layout: Path, name: str) -> None:
        """Bring the image into the store, before `run` is measured."""
        raise NotImplementedError

    def run(self, name: str, *argv: str) -> Command:
        """Return the command that runs `argv` in a new container without network and removes it."""
        raise NotImplementedError

    def run_detached(self, name: str, container: str, *argv: str) -> Command:
        """Return the command that starts the container `container` and leaves it running."""
        raise NotImplementedError

    def run_logged(self, driver: str, name: str, container: str, *argv: str) -> Command:
        """As `run_detached`, with a log of that driver, bounded to 300 megabytes."""
        raise NotImplementedError

    def about(self, container: str, verb: str) -> Command:
        """Return the command `verb` (wait, logs), which all engines have alike, for a container."""
        return self.verb(verb, container)

    def verb(self, *argv: str) -> Command:
        """Return the command of these words, which all engines have alike."""
        raise NotImplementedError

    def image(self, name: str) -> str:
        """Return how the image that was loaded as `name` is called in such a command."""
        raise NotImplementedError

    def create(self, name: str, container: str, *argv: str) -> Command:
        """Return the command that makes the container `container` and does not start it."""
        raise NotImplementedError

    def listing(self) -> Command:
        """Return the command that lists all containers."""
        raise NotImplementedError

    def execute(self, container: str, *argv: str) -> Command:
        """Return the command that runs `argv` in a running container."""
        raise NotImplementedError

    def remove(self, *containers: str) -> Command:
        """Return the command that kills and removes containers."""
        raise NotImplementedError

    def pull(self, reference: str, *, again: bool = False) -> Command:
        """Return the command that pulls `reference` into an empty store, a new one each time; `again`: into the last one."""
        raise NotImplementedError

    def push(self, target: str) -> Command:
        """Return the command that pushes `target` from the store of the last pull."""
        raise NotImplementedError

    def tag(self, reference: str, target: str) -> Command:
        """Return the command that calls what was pulled last as `reference` also `target`."""
        raise NotImplementedError

    def load_anew(self, archive: Path) -> Command:
        """Return the command that loads an archive into a store that is empty: a new one each time."""
        raise NotImplementedError

    def end(self) -> None:
        """Remove what containers are left, also where the benchmark was ended, then end the daemons, if there are any."""
        try:
            if (self.directory / self._store).exists() and (left := self._left()):
                call(self.remove(*left))
        except (Absent, OSError, subprocess.SubprocessError) as error:
            print(f"  {self.name}: containers may be left: {error}")

    def _left(self) -> list[str]:
        """Return the containers that there are. Raises Absent."""
        return []


def _logged(driver: str) -> tuple[str, ...]:
    """k8s-file has one file, json-file three."""
    bounds = ("max-size=100m", "max-file=3") if driver == "json-file" else ("max-size=300m",)
    return ("--log-driver", driver, *(word for bound in bounds for word in ("--log-opt", bound)))


class Crate(Engine):
    name = "crate"

    def __init__(self, person: Person, directory: Path) -> None:
        super().__init__(person, directory)
        self._program = crate_command("crate", _readable(directory.parent / "commands"))
        self._turn = 0

    def _crate(self, store: str, *argv: str | Path) -> Command:
        env = {"CRATE_ROOT": str(self.directory / store), "CRATE_STATE": str(self.directory / f"{store}.state")}
        return self.command(self._program, *argv, **env)

    def version(self) -> str:
        return call(self._crate("run", "--version"))

    def _left(self) -> list[str]:
        return call(self._crate("run", "ps", "--all", "--quiet", "--no-trunc")).split()

    def load(self, archive: Path, layout: Path, name: str) -> None:
        call(self._crate("run", "pull", "--quiet", f"oci:{layout}:{name}"))
        self._image = call(self._crate("run", "images", "--quiet"))  # by its ID, as what was pulled goes by its name

    def run(self, name: str, *argv: str) -> Command:
        return self._crate("run", "run", "--rm", "--network", "none", self._image, *argv)

    def run_detached(self, name: str, container: str, *argv: str) -> Command:
        return self._crate("run", "run", "-d", "--name", container, "--network", "none", self._image, *argv)

    def run_logged(self, driver: str, name: str, container: str, *argv: str) -> Command:
        return self._crate("run", "run", "-d", *_logged(driver), "--name", container, "--network", "none", self._image, *argv)

    def verb(self, *argv: str) -> Command:
        return self._crate("run", *argv)

    def image(self, name: str) -> str:
        return self._image

    def create(self, name: str, container: str, *argv: str) -> Command:
        return self._crate("run", "create", "--name", container, "--network", "none", self._image, *argv)

    def listing(self) -> Command:
        return self._crate("run", "ps", "--all")

    def execute(self, container: str, *argv: str) -> Command:
        return self._crate("run", "exec", container, *argv)

    def remove(self, *containers: str) -> Command:
        return self._crate("run", "rm", "-f", *containers)

    def pull(self, reference: str, *, again: bool = False) -> Command:
        self._turn += not again
        return self._crate(f"pull-{self._turn}", "pull", "--quiet", reference)

    def load_anew(self, archive: Path) -> Command:
        self._turn += 1
        return self._crate(f"load-{self._turn}", "load", "--quiet", "--input", archive)

    def push(self, target: str) -> Command:
        return self._crate(f"pull-{self._turn}", "push", "--quiet", target)

    def tag(self, reference: str, target: str) -> Command:
        return self._crate(f"pull-{self._turn}", "tag", reference, target)


class Bundle(Engine):
    """runc, or a runtime with its command line, on a bare bundle: no image, no store, the rootfs a plain directory.

    The bundle asks for the namespaces, the capabilities and the seccomp filter that crate uses for the same container.
    """

    _store = "state"

    def __init__(self, person: Person, directory: Path, program: str) -> None:
        super().__init__(person, directory)
        self.name = f"{program}, bare bundle"
        self._program = need(program)
        self._turn = 0

    def version(self) -> str:
        return call(self.command(self._program, "--version")).splitlines()[0]

    def load(self, archive: Path, layout: Path, name: str) -> None:
        rootfs = self.directory / "bundle/rootfs"
        rootfs.mkdir(parents=True)
        index = json.loads((layout / "index.json").read_text())
        manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_text())
        for layer in manifest["layers"]:
            call(self.command("tar", "-xzf", _blob(layout, layer["digest"]), "-C", rootfs))
        call(self.command(self._program, "spec", "--bundle", rootfs.parent))
        path = rootfs.parent / "config.json"
        spec = json.loads(path.read_text())
        self._shape(spec)
        path.write_text(json.dumps(spec))
        call(self.run(name, "true"))

    def _shape(self, spec: dict[str, object]) -> None:
        from cratebox import document

        process, linux, root = spec["process"], spec["linux"], spec["root"]
        assert isinstance(process, dict) and isinstance(linux, dict) and isinstance(root, dict)  # noqa: PT018
        process |= {"args": ["true"], "terminal": False, "noNewPrivileges": False, "rlimits": []}
        capabilities = [f"CAP_{name}" for name in DEFAULT_CAPABILITIES]
        process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
        root["readonly"] = False
        linux["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "cgroup", "network")]
        linux["seccomp"] = document.encode(default_seccomp(capabilities))

    def _runtime(self, *argv: str | Path) -> Command:
        return self.command(self._program, "--root", self.directory / "state", *argv)

    def run(self, name: str, *argv: str) -> Command:
        self._turn += 1
        return self._runtime("run", "--bundle", self.directory / "bundle", f"bench-{os.getpid()}-{self._turn}")

    def _left(self) -> list[str]:
        return call(self._runtime("list", "--quiet")).split()

    def remove(self, *containers: str) -> Command:
        return self._runtime("delete", "--force", containers[0])  # it runs one at a time


def default_seccomp(capabilities: list[str]) -> object:
    """Return the linux.seccomp that crate gives a container with these capabilities."""
    from cratebox import document
    from cratebox.runtime.seccomp import default_profile

    return document.encode(default_profile(frozenset(capabilities)))


# Docker's and Podman's default set, which is crate's.
DEFAULT_CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "MKNOD",
    "NET_RAW",
    "AUDIT_WRITE",
]


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


class Podman(Engine):
    name = "podman"

    def __init__(self, person: Person, directory: Path) -> None:
        super().__init__(person, directory)
        self._program = need("podman")
        self._turn = 0
        settings = self.directory / "containers.conf"
        # Where CAP_SYS_RESOURCE is missing, Podman's own default limits cannot be set.
        limits = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        settings.write_text(limits + '[engine]\nevents_logger = "file"\n')
        policy = self.directory / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self._runtime = ""

    def _podman(self, store: str, *argv: str | Path) -> Command:
        place = self.directory / store
        options = [
            "--root",
            place / "root",
            "--runroot",
            place / "run",
            "--tmpdir",
            place / "tmp",
            "--cgroup-manager",
            "cgroupfs",
            "--storage-driver",
            "overlay",
        ]
        runtime = ["--runtime", self._runtime] if self._runtime else []
        return self.command(self._program, *options, *runtime, *argv, CONTAINERS_CONF=str(self.directory / "containers.conf"))

    def version(self) -> str:
        return call(self.command(self._program, "--version")) + f" with {self._runtime or 'its default runtime'}"

    def _left(self) -> list[str]:
        return call(self._podman("run", "ps", "--all", "--quiet")).split()

    def load(self, archive: Path, layout: Path, name: str) -> None:
        call(self._podman("run", "load", "-q", "-i", archive))
        self._settle(name)

    def _settle(self, name: str) -> None:
        """Podman's first choice, crun, refuses some layouts of cgroups; then it is runc."""
        for runtime in ("crun", "runc"):
            self._runtime = runtime
            try:
                call(self.run(name, "true"))
            except Absent:
                if runtime == "runc":
                    raise
                continue
            return

    def run(self, name: str, *argv: str) -> Command:
        return self._podman("run", "run", "--rm", *_WITHOUT, f"localhost/{name}:latest", *argv)

    def run_detached(self, name: str, container: str, *argv: str) -> Command:
        return self._podman("run", "run", "-d", "--name", container, *_WITHOUT, f"localhost/{name}:latest", *argv)

    def run_logged(self, driver: str, name: str, container: str, *argv: str) -> Command:
        image = f"localhost/{name}:latest"
        return self._podman("run", "run", "-d", *_logged(driver), "--name", container, *_WITHOUT, image, *argv)

    def verb(self, *argv: str) -> Command:
        return self._podman("run", *argv)

    def image(self, name: str) -> str:
        return f"localhost/{name}:latest"

    def create(self, name: str, container: str, *argv: str) -> Command:
        return self._podman("run", "create", "--name", container, *_WITHOUT, f"localhost/{name}:latest", *argv)

    def listing(self) -> Command:
        return self._podman("run", "ps", "--all")

    def execute(self, container: str, *argv: str) -> Command:
        return self._podman("run", "exec", container, *argv)

    def remove(self, *containers: str) -> Command:
        return self._podman("run", "rm", "-f", "-t", "0", *containers)

    def pull(self, reference: str, *, again: bool = False) -> Command:
        self._turn += not again
        policy = self.directory / "policy.json"
        return self._podman(
            f"pull-{self._turn}", "pull", "--quiet", "--tls-verify=false", "--signature-policy", policy, reference
        )

    def load_anew(self, archive: Path) -> Command:
        self._turn += 1
        return self._podman(f"load-{self._turn}", "load", "--quiet", "--input", archive)

    def push(self, target: str) -> Command:
        return self._podman(f"pull-{self._turn}", "push", "--quiet", "--tls-verify=false", target)

    def tag(self, reference: str, target: str) -> Command:
        return self._podman(f"pull-{self._turn}", "tag", reference, target)


class Containerd(Engine):
    name = "containerd"

    def __init__(self, person: Person, directory: Path) -> None:
        super().__init__(person, directory)
        self._program, self._ctr = need("containerd"), need("ctr")
        if not person.is_root:
            raise Absent("containerd needs root")
        self._turn = 0
        self._daemon: Daemon | None = None

    def start(self, store: str) -> Path:
        """Start a containerd with an empty store and return its socket."""
        self.end()
        place = self.directory / store
        place.mkdir()
        config = place / "config.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        socket = place / "s"
        argv = [self._program, "--config", config, "--root", place / "root", "--state", place / "state", "--address", socket]
        self._daemon = Daemon(argv, place / "log", socket)
        self.daemons = (self._daemon.process.pid,)
        return socket

    def version(self) -> str:
        return call(self.command(self._program, "--version"))

    def pull(self, reference: str, *, again: bool = False) -> Command:
        self._turn += not again
        socket = self.start(f"pull-{self._turn}")
        return self.command(self._ctr, "--address", socket, "--namespace", "bench", "images", "pull", "--plain-http", reference)

    def end(self) -> None:
        if self._daemon:
            self._daemon.end()
            self._daemon = None


class Docker(Engine):
    name = "docker"
    network = ("--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")  # of the daemon

    def __init__(self, person: Person, directory: Path) -> None:
        super().__init__(person, directory)
        self._program = need("dockerd")
        if not person.is_root:
            raise Absent("docker needs root")
        self._containerd = Containerd(person, directory / "c")
        self._daemon: Daemon | None = None
        self._client = ""
        self._turn = 0

    def _start(self, store: str) -> None:
        self.end()
        below = self._containerd.start(store)
        place = self.directory / store
        place.mkdir()
        socket = place / "s"
        argv = [
            self._program,
            "--data-root",
            place / "root",
            "--exec-root",
            place / "exec",
            "--pidfile",
            place / "pid",
            "--host",
            f"unix://{socket}",
            "--containerd",
            below,
            *self.network,
        ]
        self._daemon = Daemon(argv, place / "log", socket)
        self._socket = socket
        self.daemons = (self._daemon.process.pid, *self._containerd.daemons)
        self._client = self._client or self._find_client()

    def _find_client(self) -> str:
        """A client may be too new for the daemon: take the first that it talks to."""
        for client in dict.fromkeys((*_DOCKER_CLIENTS, need("docker"))):
            try:
                call(self.command(client, "--host", f"unix://{self._socket}", "version"))
            except (Absent, OSError):
                continue
            return client
        raise Absent("no docker client talks to this dockerd")

    def _docker(self, *argv: str | Path) -> Command:
        return self.command(self._client, "--host", f"unix://{self._socket}", *argv)

    def version(self) -> str:
        return call(self.command(self._program, "--version"))

    def _left(self) -> list[str]:
        return call(self._docker("ps", "--all", "--quiet")).split() if self._client and self._daemon else []

    def load(self, archive: Path, layout: Path, name: str) -> None:
        self._start("run")
        call(self._docker("load", "-q", "-i", archive))

    def run(self, name: str, *argv: str) -> Command:
        return self._docker("run", "--rm", *_WITHOUT, f"{name}:latest", *argv)

    def run_detached(self, name: str, container: str, *argv: str) -> Command:
        return self._docker("run", "-d", "--name", container, *_WITHOUT, f"{name}:latest", *argv)

    def run_logged(self, driver: str, name: str, container: str, *argv: str) -> Command:
        return self._docker("run", "-d", *_logged(driver), "--name", container, *_WITHOUT, f"{name}:latest", *argv)

    def verb(self, *argv: str) -> Command:
        return self._docker(*argv)

    def image(self, name: str) -> str:
        return f"{name}:latest"

    def create(self, name: str, container: str, *argv: str) -> Command:
        return self._docker("create", "--name", container, *_WITHOUT, f"{name}:latest", *argv)

    def listing(self) -> Command:
        return self._docker("ps", "--all")

    def execute(self, container: str, *argv: str) -> Command:
        return self._docker("exec", container, *argv)

    def remove(self, *containers: str) -> Command:
        return self._docker("rm", "-f", *containers)

    def pull(self, reference: str, *, again: bool = False) -> Command:
        if not again:
            self._turn += 1
            self._start(f"pull-{self._turn}")
        return self._docker("pull", "--quiet", reference)

    def load_anew(self, archive: Path) -> Command:
        self._turn += 1
        self._start(f"load-{self._turn}")
        return self._docker("load", "--quiet", "--input", archive)

    def push(self, target: str) -> Command:
        return self._docker("push", "--quiet", target)

    def tag(self, reference: str, target: str) -> Command:
        return self._docker("tag", reference, target)

    def end(self) -> None:
        super().end()
        if self._daemon:
            self._daemon.end()
            self._daemon = None
        self._containerd.end()


class Skopeo(Engine):
    name = "skopeo to a directory, nothing unpacked"

    def __init__(self, person: Person, directory: Path) -> None:
        super().__init__(person, directory)
        self._program = need("skopeo")
        self._turn = 0

    def version(self) -> str:
        return call(self.command(self._program, "--version"))

    def pull(self, reference: str, *, again: bool = False) -> Command:
        self._turn += not again
        place = self.directory / f"pull-{self._turn}"
        return self.command(
            self._program,
            "--insecure-policy",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            f"docker://{reference}",
            f"dir:{place}",
        )
