"""Runs tests in the machine of machine.py, under qemu, and brings back what they said.

    results = run(machine, [Part("root", {"tests/kernel/test_cgroup_v2.py": ()}, 300)], directory, 600)

The machine's disk is read-only to it: what it writes goes into a file of qemu's that is gone afterwards. A second disk, made
for each run, holds this interpreter's virtual environment and the checkout, which the machine mounts where the host has them.
What the tests say comes out of a virtual serial port, a line of JSON each, while they run (guest.py, telling.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support import clock
from support.commands import CHECKOUT
from support.debian import CACHE, CannotBuild
from support.images import find_alpine
from support.machine import Machine, make_disk
from support.people import ORDINARY

MEMORY = "2G"
WHEELS = Path("/crate-tests/wheels")  # in there: what pip needs to install the checkout
KVM_SPEAKS_WITHIN = 20.0  # seconds: where KVM is there and does not work, the kernel never says a word
LEFT_OUT = ("mypy*", "ruff*", "grimp*", "importlinter*", "import_linter*", "pip", "pip-*", "setuptools*", "hypothesis*",
            "__editable__*", "*.egg-info")  # fmt: skip
COMMAND_LINE = (
    "console=ttyS0 root=/dev/vda rw quiet panic=-1 systemd.unified_cgroup_hierarchy=1 systemd.condition-first-boot=0 "
    "systemd.condition-needs-update=0 systemd.show_status=0 mitigations=off nokaslr tsc=reliable "
    "no_timer_check"  # on a busy host the emulated timer is late, which the kernel would take for a broken one
)


@dataclass(frozen=True)
class Part:
    """What one person, "root" or "user", runs in there: {file: functions}, none for all of them; `seconds` for all together."""

    person: str
    chosen: dict[str, tuple[str, ...]]
    seconds: int


@dataclass(frozen=True)
class Said:
    """One test in the machine."""

    person: str
    test: str
    outcome: str  # passed, failed, skipped
    seconds: float
    text: str


@dataclass
class Results:
    """What the machine told before it powered off, or before its time was over."""

    tests: list[Said] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)  # how each person's pytest ended: "0", "1", ..., "timeout"
    output: dict[str, str] = field(default_factory=dict)  # the end of what each person's pytest printed
    console: str = ""
    seconds: float = 0.0

    def of(self, person: str, file: str) -> list[Said]:
        return [one for one in self.tests if one.person == person and one.test.split("::")[0] == file]


def run(machine: Machine, parts: list[Part], directory: Path, seconds: float) -> Results:
    """Start the machine, let it run `parts` one beside the other, wait until it is off, `seconds` at most."""
    directory.mkdir(parents=True, exist_ok=True)
    work = directory / "work.img"
    _make_work_disk(parts, directory / "work", work)
    begun = time.monotonic()
    console, told = directory / "console.log", directory / "told.jsonl"
    if not (_kvm_is_there(machine) and _start(machine, work, console, told, seconds, kvm=True)):
        _start(machine, work, console, told, seconds, kvm=False)
    results = _read(told)
    results.console = console.read_text(errors="replace")
    results.seconds = time.monotonic() - begun
    work.unlink()
    return results


def _make_work_disk(parts: list[Part], tree: Path, image: Path) -> None:
    environment = Path(sys.prefix)
    shutil.copytree(environment, tree / "environment", symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    hidden = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(CHECKOUT, tree / "checkout", symlinks=True, ignore=hidden)
    shutil.copy(Path(__file__).with_name("guest.py"), tree / "guest.py")
    shutil.copytree(_wheels(), tree / WHEELS.name)
    if alpine := find_alpine():
        shutil.copy(alpine, tree / "alpine.tar.gz")
    job = {
        "places": {"environment": str(environment), "checkout": str(CHECKOUT)},
        "python": sys.executable,
        "ordinary": ORDINARY,
        "parts": [{"person": one.person, "chosen": one.chosen, "seconds": one.seconds} for one in parts],
    }
    (tree / "job.json").write_text(json.dumps(job))
    used = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    make_disk(tree, image, f"{(used >> 20) * 5 // 4 + 64}M")
    shutil.rmtree(tree)


def _wheels() -> Path:
    """Return a directory of what it takes to build and install the checkout, downloaded once. Raises CannotBuild."""
    project = (CHECKOUT / "pyproject.toml").read_bytes()
    wanted = tomllib.loads(project.decode())
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = CACHE / f"wheels-{version}-{hashlib.sha256(project).hexdigest()[:12]}"
    if not found.exists():
        with tempfile.TemporaryDirectory(prefix="wheels-partial-", dir=CACHE) as partial:
            needed = [*wanted["build-system"]["requires"], *wanted["project"]["dependencies"]]
            argv = [sys.executable, "-m", "pip", "download", "-q", "-d", f"{partial}/made", *needed]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
            if done.returncode:
                raise CannotBuild(f"pip download: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
            Path(partial, "made").rename(found)
    return found


def _start(machine: Machine, work: Path, console: Path, told: Path, seconds: float, kvm: bool) -> bool:
    """Run qemu to its end, or end it. Say whether the kernel spoke; without KVM always."""
    for file in (console, told):
        file.write_bytes(b"")
    with open(console.with_name("qemu.log"), "wb") as log:
        argv, environment = _argv(machine, work, console, told, kvm), _environment(console)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            if kvm:
                _wait(process, KVM_SPEAKS_WITHIN, lambda: console.stat().st_size > 0)
                if console.stat().st_size == 0:
                    _verdict(machine).write_text("does not work")
                    return False
            _wait(process, seconds, lambda: False)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    return True


def _command_line() -> str:
    """Return the kernel's parameters. It would measure the frequency of its clock against emulated timers, and on a busy host
    be wrong by a factor of three: all timeouts inside would be over too soon. The emulated counter is the host's own.
    """
    return f"{COMMAND_LINE} tsc_early_khz={clock.tsc_khz()}"


def _wait(process: subprocess.Popen[bytes], seconds: float, enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not enough():
        time.sleep(0.2)


def _argv(machine: Machine, work: Path, console: Path, told: Path, kvm: bool) -> list[str]:
    # Emulated, a processor without AVX is twice as fast as one with, since the C library takes what it finds.
    accelerator = ["-accel", "kvm", "-cpu", "host"] if kvm else ["-accel", "tcg,thread=multi", "-cpu", "Nehalem"]
    return [
        "setpriv", "--pdeathsig", "KILL",  # whatever ends the tests ends the machine
        "nice", "-n", "5", "qemu-system-x86_64", *accelerator, "-machine", "pc,hpet=off", "-smp", "2", "-m", MEMORY,
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{console}",
        "-kernel", str(machine.kernel), "-initrd", str(machine.initramfs),
        "-append", _command_line(),
        "-drive", f"file={machine.disk},if=virtio,format=raw,snapshot=on",
        "-drive", f"file={work},if=virtio,format=raw,snapshot=on",
        "-device", "virtio-serial-pci", "-chardev", f"file,id=told,path={told}",
        "-device", "virtserialport,chardev=told,name=crate.told",
    ]  # fmt: skip


def _environment(console: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(console.parent)}  # where qemu puts what the machine writes


def _verdict(machine: Machine) -> Path:
    return machine.directory / f"kvm-{os.uname().release}"


def _kvm_is_there(machine: Machine) -> bool:
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and not _verdict(machine).exists()


def _read(told: Path) -> Results:
    results = Results()
    for line in told.read_text(errors="replace").splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue  # the line it was ended in
        if "test" in one:
            results.tests.append(Said(**one))
        else:
            results.ends[one["person"]] = one["end"]
            results.output[one["person"]] = one["output"]
    return results
