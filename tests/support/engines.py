"""Podman, Docker and containerd as callers of crate-oci: each with stores, daemons and settings of its own.

They run in network, mount and process namespaces that end with the test run, so that neither the machine's own engines nor its
bridges, its firewall and its /run are touched, and nothing is left of them: the end of the first process is the end of all.
CRATE_TEST_OCI=runc runs the same tests on another runtime, which tells what is the machine's or the engine's own fault.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support import commands, people
from support.images import Image, write_docker_archive
from support.people import PATH

# What engines keep in places that cannot be chosen.
_PRIVATE = (
    "/run/netns",
    "/run/cni",
    "/var/lib/cni",
    "/etc/cni/net.d",
    "/run/containerd",
    "/run/docker",
    "/run/containers",
    "/run/libpod",
    "/run/crate-oci",
)
_SETUP = """
mount --make-rprivate /
for directory in {private}; do mkdir -p $directory && mount -t tmpfs -o mode=755 none $directory || exit; done
ip link set lo up && echo ready && exec env --ignore-signal=CHLD sleep infinity
"""


_UNTIL_TOLD = 'trap "exit 3" TERM; while :; do sleep 0.1; done'
_PARENTS = ("docker", "tests", "libpod_parent", "k8s.io")  # cgroups that engines make and leave


class Absent(Exception):
    """The engine is not installed, or does not work on this machine; the text says which."""


def need(program: str) -> str:
    """Return the path of a program. Raises Absent."""
    found = shutil.which(program, path=PATH)
    if found is None:
        raise Absent(f"{program} is not installed")
    return found


class Daemon:
    """A program that serves until it is ended."""

    def __init__(self, argv: list[str | Path], log: Path, ready: Path | Callable[[], bool]) -> None:
        is_ready = ready.exists if isinstance(ready, Path) else ready
        with log.open("wb") as out:
            words = [str(word) for word in argv]
            self.process = subprocess.Popen(
                words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd="/", env={"PATH": PATH}
            )
        try:
            self._wait(is_ready, log)
        except BaseException:
            self.end()
            raise

    def _wait(self, is_ready: Callable[[], bool], log: Path) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            if is_ready():
                return
            time.sleep(0.05)
        said = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
        raise Absent(f"{self.process.args[0]} did not start: {said}")  # type: ignore[index]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60)


class House:
    """Namespaces in which engines run, as on a machine of their own."""

    def __init__(self) -> None:
        if os.geteuid():
            raise Absent("needs root")
        self._parents = set(_parents())
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
        script = _SETUP.format(private=" ".join(_PRIVATE))
        self._process = subprocess.Popen([*words, script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env={"PATH": PATH})
        assert self._process.stdout
        if self._process.stdout.readline() != b"ready\n":
            self.end()
            raise Absent("no namespaces for engines can be made here")
        pid = self._process.pid
        self.pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def argv(self, *words: str | Path) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", *map(str, words)]

    def end(self) -> None:
        self._process.kill()  # the first process of the namespaces goes with it, and all others with that one
        self._process.wait(60)
        assert self._process.stdout
        self._process.stdout.close()
        for parent in set(_parents()) - self._parents:
            for directory, _names, _files in os.walk(parent, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass  # somebody is in it: another run's engine


class Ground:
    """No namespaces: the machine itself, where the tests may do with it as they like."""

    pid = 1

    def argv(self, *words: str | Path) -> list[str]:
        return [*map(str, words)]


def _parents() -> list[Path]:
    hierarchies = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]
    return [one / name for one in hierarchies for name in _PARENTS if (one / name).is_dir()]


def runtime(scratch: Path) -> Path:
    """Return the runtime under test."""
    named = os.environ.get("CRATE_TEST_OCI")
    return Path(need(named)) if named else commands.command("crate-oci", scratch)


class Engine:
    """What the tests ask of an engine: `engine("run", ...)`, `engine.ok(...)`."""

    def __init__(self, house: House | Ground, directory: Path) -> None:
        self.house = house
        self.directory = directory
        directory.mkdir(mode=0o755)
        self.environment = {"PATH": PATH, "HOME": str(directory), "LANG": "C.UTF-8", "TERM": "xterm"}

    def words(self) -> list[str]:
        """Return what stands before the verb."""
        raise NotImplementedError

    def __call__(self, *args: str | Path, timeout: float = 120, **options: object) -> subprocess.CompletedProcess[str]:
        argv = self.house.argv(*self.words(), *args)
        given: dict[str, object] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "errors": "replace"}
        if "input" in options:
            del given["stdin"]
        return subprocess.run(argv, env=self.environment, cwd="/", timeout=timeout, **(given | options))  # type: ignore[call-overload, no-any-return]

    def ok(self, *args: str | Path, **options: object) -> str:
        """Run it, insist on exit code 0, return its output without the last newline."""
        done = self(*args, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, f"{' '.join(map(str, args))} ended with {done.returncode}: {done.stderr or done.stdout}"
        return done.stdout.removesuffix("\n")

    def json(self, *args: str | Path) -> object:
        return json.loads(self.ok(*args))

    def until(self, wanted: str, *args: str | Path, seconds: float = 30) -> None:
        """Run it again and again until `wanted` is its output."""
        deadline = time.monotonic() + seconds
        while (said := self.ok(*args)) != wanted:
            assert time.monotonic() < deadline, f"{' '.join(map(str, args))}: {said!r}, not {wanted!r}"
            time.sleep(0.1)

    def load(self, name: str, image: Image) -> str:
        """Bring an image into the engine's store; return what it is called there."""
        raise NotImplementedError

    def begin(self, image: str) -> str:
        """Start a container that runs until it is told to stop, and then ends with 3; return its name."""
        name = f"box-{os.urandom(3).hex()}"
        self.ok("run", "-d", "--name", name, "--network", "none", image, "sh", "-c", f"echo up; {_UNTIL_TOLD}")
        self.until("up", "logs", name)
        return name

    def remove(self, name: str) -> None:
        """Remove what `begin` has started, in whatever state it is."""
        self("rm", "-f", name)

    def run(self, image: str, *words: str, flags: tuple[str, ...] = ()) -> str:
        """Run a container without a network to its end; insist on 0 and return its output."""
        return self.ok("run", "--rm", "--network", "none", *flags, image, *words)


class Podman(Engine):
    """podman as root; the image under test is localhost/NAME:latest."""

    storage = "overlay"

    def __init__(self, house: House | Ground, directory: Path, oci: Path) -> None:
        super().__init__(house, directory)
        self._program = need("podman")
        settings = directory / "containers.conf"
        # Where CAP_SYS_RESOURCE is missing, Podman's own default limits cannot be set.
        limits = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        names = "".join(f'runtime_supports_{what} = ["{oci.name}"]\n' for what in ("json", "nocgroup"))
        names += 'infra_image = "localhost/pause:latest"\n'
        settings.write_text(f'{limits}[engine]\nevents_logger = "file"\n{names}')
        self.environment["CONTAINERS_CONF"] = str(settings)
        self._oci = oci

    def words(self) -> list[str]:
        places = [
            f"--{flag}={self.directory}/{name}" for flag, name in (("root", "root"), ("runroot", "run"), ("tmpdir", "tmp"))
        ]
        how = ["--cgroup-manager", "cgroupfs", "--storage-driver", self.storage, "--runtime", str(self._oci)]
        return [self._program, *places, *how]

    def load(self, name: str, image: Image) -> str:
        archive = write_docker_archive(self.directory / f"{name}.tar", f"localhost/{name}:latest", image)
        archive.chmod(0o644)
        self.ok("load", "-q", "-i", archive)
        return f"localhost/{name}:latest"

    def remove(self, name: str) -> None:
        self("rm", "-f", "-t", "0", name)

    def end(self) -> None:
        self("rm", "-fa", "-t", "0")
        self("pod", "rm", "-fa", "-t", "0")


class RootlessPodman(Podman):
    """podman as the ordinary user of the tests, in the user namespace that it makes for itself."""

    storage = "vfs"  # overlayfs would take fuse-overlayfs on some kernels

    def __init__(self, house: House | Ground, directory: Path, oci: Path) -> None:
        if reason := people.why_not("user"):
            raise Absent(reason)
        super().__init__(house, directory, oci)
        self._user = people.person("user", directory / "home")
        os.chown(directory, self._user.uid, self._user.gid)
        self.environment |= {
            "HOME": str(self._user.home),
            "XDG_RUNTIME_DIR": str(self._user.runtime_dir),
            "USER": self._user.name,
        }

    def words(self) -> list[str]:
        become = ["setpriv", f"--reuid={self._user.uid}", f"--regid={self._user.gid}", "--clear-groups"]
        return [*become, *super().words()]


class Containerd(Engine):
    """containerd and its client ctr. See cri.py for the one with the CRI plugin."""

    namespace = "tests"

    def __init__(self, house: House | Ground, directory: Path, oci: Path) -> None:
        super().__init__(house, directory)
        self._program, self._ctr = need("containerd"), need("ctr")
        self.oci = oci
        config = directory / "config.toml"
        config.write_text(self.settings())
        self.socket = directory / "s"
        words = [self._program, "--config", config, "--root", directory / "root", "--state", directory / "state"]
        self._argv = house.argv(*words, "--address", self.socket)
        self.start()

    def start(self) -> None:
        """Start the daemon, at first and after `stop`."""
        self._daemon = Daemon(self._argv, self.directory / "log", self.socket)

    def stop(self) -> None:
        """End the daemon, and nothing of what it has started."""
        entered = self._daemon.process.pid  # nsenter, whose child it is
        os.kill(int(Path(f"/proc/{entered}/task/{entered}/children").read_text()), signal.SIGTERM)
        self._daemon.process.wait(60)
        self.socket.unlink(missing_ok=True)

    def settings(self) -> str:
        """Return what stands in the configuration file."""
        return 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'

    def words(self) -> list[str]:
        return [self._ctr, "--address", str(self.socket), "--namespace", self.namespace]

    def load(self, name: str, image: Image) -> str:
        archive = write_docker_archive(self.directory / f"{name}.tar", f"localhost/{name}:latest", image)
        self.ok("images", "import", archive)
        return f"localhost/{name}:latest"

    def flags(self) -> tuple[str, ...]:
        """Return what makes `ctr run` take the runtime under test."""
        return ("--runc-binary", str(self.oci), "--runc-root", str(self.directory / "runc"))

    def begin(self, image: str) -> str:
        name = f"box-{os.urandom(3).hex()}"
        self.ok("run", "-d", *self.flags(), image, name, "sh", "-c", _UNTIL_TOLD)
        return name

    def remove(self, name: str) -> None:
        self("tasks", "kill", "--all", "-s", "KILL", name)
        self("tasks", "delete", "--force", name)
        self.ok("containers", "delete", name)

    def end(self) -> None:
        self._daemon.end()


_DOCKER_CLIENTS = ("/usr/bin/docker", "/usr/local/bin/docker")


class Docker(Engine):
    """dockerd on a containerd of its own; the runtime under test is the default one, so that `docker build` uses it."""

    more: tuple[str, ...] = ()  # flags of dockerd

    def __init__(self, house: House | Ground, directory: Path, oci: Path) -> None:
        super().__init__(house, directory)
        program = need("dockerd")
        self._containerd = Containerd(house, directory / "c", oci)
        self.socket = directory / "s"
        places = ["--data-root", directory / "root", "--exec-root", directory / "exec", "--pidfile", directory / "pid"]
        runtimes = ["--add-runtime", f"crate={oci}", "--default-runtime", "crate"]
        words = [
            program,
            *places,
            *runtimes,
            *self.more,
            "--host",
            f"unix://{self.socket}",
            "--containerd",
            self._containerd.socket,
        ]
        try:
            self._daemon = Daemon(house.argv(*words), directory / "log", self.socket)
            self._client = self._find_client()
        except BaseException:
            self.end()
            raise

    def _find_client(self) -> str:
        """A client may be too new for the daemon: take the first that it talks to."""
        for client in dict.fromkeys((*_DOCKER_CLIENTS, need("docker"))):
            self._client = client
            try:
                if self("version").returncode == 0:
                    return client
            except OSError:
                continue
        raise Absent("no docker client talks to this dockerd")

    def words(self) -> list[str]:
        return [self._client, "--host", f"unix://{self.socket}"]

    def load(self, name: str, image: Image) -> str:
        archive = write_docker_archive(self.directory / f"{name}.tar", f"{name}:latest", image)
        self.ok("load", "-q", "-i", archive)
        return f"{name}:latest"

    def end(self) -> None:
        if hasattr(self, "_daemon"):
            if left := self("ps", "-aq").stdout.split():
                self("rm", "-f", *left)
            self._daemon.end()
        self._containerd.end()
