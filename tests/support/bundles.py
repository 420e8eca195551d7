"""OCI bundles of the tests' own, and `crate-oci` as root, as root with a user namespace, and as an ordinary user."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import commands, people
from support.leaks import word_of
from support.people import Person
from support.trees import copy_tree

BUSYBOX = Path("/bin/busybox")
DIRECTORIES = ("bin", "etc", "root", "tmp", "dev", "proc", "sys", "run", "var", "home", "usr/bin")
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
MASKED = ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
          "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/sys/devices/virtual/powercap", "/sys/firmware"]  # fmt: skip
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
KINDS = ("root", "userns", "user")
_SAFE = ["nosuid", "noexec", "nodev"]


def applets() -> list[str]:
    return subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True, timeout=30).stdout.split()


def make_rootfs(root: Path) -> Path:
    """A root file system of nothing but busybox and a link for each of its applets."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in set(applets()) - {"busybox"}:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nalice:x:1000:\n")
    return root


def spec(*args: str) -> dict[str, Any]:
    """A container as an engine would write it: namespaces, masks, capabilities all as Docker's defaults."""
    names = list(CAPABILITIES)
    return {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "hostname": "box",
        "process": {
            "cwd": "/",
            "args": list(args),
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": names, "effective": names, "permitted": names},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": _SAFE},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*_SAFE, "mode=1777"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _SAFE},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SAFE, "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*_SAFE, "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "cgroup", "network")],
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    }  # fmt: skip


def mount_options(text: str) -> dict[str, set[str]]:
    """Return the options of each mount point in a mountinfo; of those that lie on each other the upper one's."""
    return {line.split()[4]: set(line.split()[5].split(",")) for line in text.splitlines()}


@dataclass
class Bundle:
    """A directory with config.json and rootfs. Change `spec`, then `write`."""

    directory: Path
    person: Person
    spec: dict[str, Any]

    @property
    def rootfs(self) -> Path:
        return self.directory / "rootfs"

    @property
    def process(self) -> dict[str, Any]:
        return self.spec["process"]

    @property
    def linux(self) -> dict[str, Any]:
        return self.spec["linux"]

    def mount(self, destination: str, source: Path | str, *options: str, kind: str = "bind") -> Bundle:
        words = list(options) or (["bind"] if kind == "bind" else [])
        self.spec["mounts"].append({"destination": destination, "type": kind, "source": str(source), "options": words})
        return self

    def without(self, *destinations: str) -> Bundle:
        """Take the mounts at these places away."""
        self.spec["mounts"] = [one for one in self.spec["mounts"] if one["destination"] not in destinations]
        return self

    def write(self) -> Bundle:
        (self.directory / "config.json").write_text(json.dumps(self.spec))
        return self


@dataclass
class Oci:
    """`crate-oci` of one person, with a state directory of its own, and what makes bundles for it."""

    kind: str
    person: Person
    executable: Path
    directory: Path
    template: Path
    bundles: int = 0
    ids: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.directory / "state"

    @property
    def package(self) -> Path:
        """The directory of the package that the command runs."""
        return commands.package_of(self.executable)

    @property
    def rootless(self) -> bool:
        return self.kind == "user"

    def argv(self, *args: str | Path) -> list[str]:
        return [str(self.executable), "--root", str(self.root), *map(str, args)]

    def __call__(self, *args: str | Path, timeout: float = 30, **options: Any) -> subprocess.CompletedProcess[str]:
        if "input" in options:
            options.setdefault("stdin", None)
            options = {key: value for key, value in options.items() if value is not None}
        return self.person.run(self.argv(*args), timeout=timeout, **options)

    def ok(self, *args: str | Path, **options: Any) -> str:
        done = self(*args, **options)
        assert done.returncode == 0, f"{' '.join(map(str, args))} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def fails(self, *args: str | Path, code: int = 1, **options: Any) -> str:
        done = self(*args, **options)
        assert done.returncode == code, f"{' '.join(map(str, args))} ended with {done.returncode}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr, done.stderr
        return done.stderr

    def start(self, *args: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        return self.person.start(self.argv(*args), **options)

    def bundle(self, *args: str, script: str | None = None) -> Bundle:
        """A bundle of its own, with a copy of the busybox tree, that runs `args`, or `sh -c SCRIPT`."""
        self.bundles += 1
        directory = self.directory / f"bundle{self.bundles}"
        directory.mkdir()
        copy_tree(self.template, directory / "rootfs")
        document = copy.deepcopy(spec(*(("/bin/sh", "-c", script) if script is not None else args)))
        if self.kind != "root":
            maps = self._maps()
            document["linux"]["namespaces"].append({"type": "user"})
            document["linux"] |= {"uidMappings": maps, "gidMappings": maps}
        made = Bundle(directory, self.person, document)
        self.give(directory)
        return made.write()

    def _maps(self) -> list[dict[str, int]]:
        if self.kind == "userns":
            return [{"containerID": 0, "hostID": 100000, "size": 65536}]
        return [
            {"containerID": 0, "hostID": self.person.uid, "size": 1},
            {"containerID": 1, "hostID": _subordinate(self.person.name), "size": 65535},
        ]

    def give(self, directory: Path) -> None:
        """Make the tree `directory` belong to whoever is root in the containers."""
        owner = 100000 if self.kind == "userns" else self.person.uid
        if owner == os.geteuid():
            return
        for path, names, files in os.walk(directory):
            for name in (".", *names, *files):
                os.chown(os.path.join(path, name), owner, owner, follow_symlinks=False)

    def output(self, bundle: Bundle, code: int = 0, **options: Any) -> str:
        """Run `bundle` in the foreground, insist on the exit code, return its output."""
        bundle.write()
        done = self("run", "--bundle", bundle.directory, self.name(), **options)
        assert done.returncode == code, f"ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def script(self, text: str, **options: Any) -> str:
        """Run `sh -c TEXT` in a fresh bundle and return its output."""
        return self.output(self.bundle(script=text), **options)

    def name(self) -> str:
        self.ids.append(f"{self.directory.parent.name}-{len(self.ids)}")
        return self.ids[-1]

    def create(self, bundle: Bundle, *flags: str | Path, name: str | None = None, **options: Any) -> str:
        bundle.write()
        name = name or self.name()
        options = {"stdout": subprocess.DEVNULL, "capture_output": False, "stderr": subprocess.DEVNULL} | options
        done = self("create", "--bundle", bundle.directory, *flags, name, **options)
        assert done.returncode == 0, self.fails("create", "--bundle", bundle.directory, *flags, name)
        return name

    def state(self, name: str) -> dict[str, Any]:
        return json.loads(self.ok("state", name))

    def status(self, name: str) -> str:
        return self.state(name)["status"]

    def until(self, name: str, status: str) -> None:
        deadline = time.monotonic() + 30
        while (now := self.status(name)) != status:
            assert time.monotonic() < deadline, f"{name} is {now}, not {status}"
            time.sleep(0.01)

    def left(self) -> list[str]:
        """What is left of containers below the state directory."""
        return sorted(name for name in os.listdir(self.root) if name != "@cache") if self.root.exists() else []

    def remove_everything(self) -> None:
        for name in self.left():
            self("delete", "--force", name)
        shutil.rmtree(self.directory, ignore_errors=True)


def _subordinate(name: str) -> int:
    for line in Path("/etc/subuid").read_text().splitlines():
        who, first, count = line.split(":")
        if who == name and int(count) >= 65535:
            return int(first)
    pytest.skip(f"{name} has no range in /etc/subuid: script/test makes one")


@pytest.fixture(scope="session")
def rootfs_template(scratch: Path) -> Path:
    if not BUSYBOX.exists():
        pytest.skip("busybox-static is not installed")
    where = scratch / f"busybox-{os.getpid()}"
    return where if where.exists() else make_rootfs(where)


def make_oci(kind: str, scratch: Path, word: str, template: Path) -> Iterator[Oci]:
    if reason := people.why_not("user" if kind == "user" else "root"):
        pytest.skip(reason)
    directory = scratch / word
    directory.mkdir(mode=0o755)
    person = people.person("user" if kind == "user" else "root", directory / "home")
    work = directory / "oci"
    work.mkdir(mode=0o755)
    os.chown(work, person.uid, person.gid)
    made = Oci(kind, person, commands.command("crate-oci", scratch), work, template)
    yield made
    made.remove_everything()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=KINDS)
def oci(request: pytest.FixtureRequest, scratch: Path, rootfs_template: Path) -> Iterator[Oci]:
    """`crate-oci` as root, as root whose containers have a user namespace, and as an ordinary user."""
    yield from make_oci(request.param, scratch, word_of(request), rootfs_template)


@pytest.fixture
def root_oci(request: pytest.FixtureRequest, scratch: Path, rootfs_template: Path) -> Iterator[Oci]:
    """`crate-oci` as root."""
    yield from make_oci("root", scratch, word_of(request), rootfs_template)
