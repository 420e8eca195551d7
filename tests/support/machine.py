"""A machine of the tests' own, as files that qemu boots: this release of Debian (or Ubuntu) with systemd as init.

    machine = machine_files()      # minutes the first time on a machine, then kept
    machine.kernel, machine.initramfs, machine.disk

Nothing of it is installed on the host: the kernel's package is unpacked, the system is mmdebstrap's. The interpreter in there
is the host's own version, so that the host's virtual environment works in it too. See emulator.py for how it is run.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import zstandard

from support import debian
from support.debian import CACHE, CannotBuild
from support.people import ORDINARY

PACKAGES = (
    "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "udev", "kmod", "procps", "iproute2", "python3",
    "python3-venv", "uidmap", "libseccomp2", "busybox-static", "runc", "crun", "podman", "catatonit",
    "apparmor", "nftables", "passt", "criu", "docker.io", "containerd", "containernetworking-plugins",
)  # fmt: skip
KERNELS = ("linux-image-cloud-amd64", "linux-image-amd64", "linux-image-virtual")  # packages that depend on the newest
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4", "crc32c_generic")  # what finds the disk
SIZE = "6G"  # of the disk, most of it a hole
PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mkfs.ext4", "apt-get")
DAYS_KEPT = 14
ROOM = 4 << 30  # bytes that have to be free, twice what is used
# What a machine that lives for minutes need not do.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "logrotate.timer", "man-db.timer", "motd-news.timer", "podman-auto-update.timer",
    "podman-auto-update.service", "podman-restart.service", "podman.service", "podman.socket", "serial-getty@ttyS0.service",
    "getty@tty1.service", "systemd-timesyncd.service", "systemd-pcrphase.service", "systemd-journal-flush.service",
    "systemd-udev-settle.service", "apparmor.service", "console-getty.service",
    "docker.service", "docker.socket", "containerd.service",
)  # fmt: skip
UNIT = """\
[Unit]
Description=The tests of crate
After=basic.target systemd-user-sessions.service user@{uid}.service dbus.service
Wants=user@{uid}.service
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
Delegate=yes
TimeoutStartSec=infinity
ExecStartPre=/bin/mount -o noatime /dev/vdb /crate-tests
ExecStart=/usr/bin/python3 -I /crate-tests/guest.py
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
"""
INIT = """\
#!/bin/busybox sh
export PATH=/bin
busybox mkdir -p /proc /sys /dev /disk
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
for module in {modules}; do
	busybox insmod /modules/$module || echo "the initramfs cannot load $module"
done
tries=0
until [ -b /dev/vda ] || [ $tries -gt 100 ]; do
	tries=$((tries + 1))
	busybox usleep 100000
done
busybox mount -t ext4 -o rw,noatime /dev/vda /disk || echo "the initramfs cannot mount the disk"
busybox mount --move /dev /disk/dev
busybox umount /sys /proc
exec busybox switch_root /disk /lib/systemd/systemd
"""


@dataclass(frozen=True)
class Machine:
    directory: Path

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initramfs"

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"


def why_not() -> str | None:
    """Say what this machine lacks to make and run another one, or return None."""
    if platform.machine() != "x86_64":
        return f"the virtual machine is made for x86_64 alone, this is {platform.machine()}"
    if os.geteuid() != 0:
        return "the virtual machine's disk takes root to make"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if missing := [program for program in PROGRAMS if shutil.which(program, path=path) is None]:
        return f"not installed: {', '.join(missing)}"
    own = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    if os.path.realpath(sys.executable) != os.path.realpath(own):
        return f"the tests run on {sys.executable}, not on the system's own Python, which is the one in the virtual machine"
    place = next(path for path in (CACHE, *CACHE.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < ROOM:
        return f"{place} has {free >> 20} MB free, the virtual machine takes {ROOM >> 20}"
    return None


def machine_files() -> Machine:
    """Return the machine, made where it is not there yet. Raises CannotBuild."""
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    tree = debian.tarball(f"machine-{_digest(*PACKAGES)}", PACKAGES)
    kernels = _kernel_packages()
    own = Path(__file__).read_text()
    machine = Machine(CACHE / f"machine-{_digest(tree.name, str(tree.stat().st_mtime_ns), *kernels, own)}")
    with open(CACHE / "machine.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not machine.directory.exists():
            _forget_old_ones()
            with tempfile.TemporaryDirectory(prefix="machine-partial-", dir=CACHE) as work:
                _build(Machine(Path(work) / "made"), Path(work), tree, kernels)
                (Path(work) / "made").rename(machine.directory)
    os.utime(machine.directory)
    return machine


def make_disk(tree: Path, image: Path, size: str) -> None:
    """Make an ext4 file system of the files in `tree`. Raises CannotBuild."""
    options = ["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-m", "0", "-i", "16384"]
    _run("mkfs.ext4", *options, "-d", str(tree), str(image), size)


def _build(machine: Machine, work: Path, tarball: Path, kernels: list[str]) -> None:
    machine.directory.mkdir()
    tree, unpacked = work / "tree", work / "kernel"
    tree.mkdir()
    _run("tar", "-xzf", str(tarball), "--numeric-owner", "-C", str(tree))
    _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *kernels, cwd=work)
    for package in sorted(work.glob("*.deb")):
        _run("dpkg", "-x", str(package), str(unpacked))
    image = next(iter((unpacked / "boot").glob("vmlinuz-*")), None)
    if image is None:
        raise CannotBuild(f"no kernel in {' '.join(kernels)}")
    release = image.name.removeprefix("vmlinuz-")
    image.rename(machine.kernel)
    shutil.move(_modules(unpacked) / release, tree / "usr/lib/modules" / release)
    _run("chroot", str(tree), "depmod", release)
    _write_initramfs(machine.initramfs, tree, release)
    _settle_in(tree)
    make_disk(tree, machine.disk, SIZE)


def _modules(unpacked: Path) -> Path:
    return next(path for path in (unpacked / "usr/lib/modules", unpacked / "lib/modules") if path.is_dir())


def _settle_in(tree: Path) -> None:
    """Give the system what an installation would: names, a user who stays logged in, the unit that runs the tests."""
    _run("chroot", str(tree), "useradd", "--create-home", "--shell", "/bin/sh", ORDINARY)
    uid = next(line.split(":")[2] for line in (tree / "etc/passwd").read_text().splitlines() if line.startswith(f"{ORDINARY}:"))
    for name in ("subuid", "subgid"):
        (tree / "etc" / name).write_text(f"{ORDINARY}:100000:65536\n")
    (tree / "etc/hostname").write_text("machine\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 machine\n::1 localhost\n")
    (tree / "etc/fstab").write_text("")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").write_text("")
    (tree / "etc/machine-id").write_text(hashlib.md5(b"crate", usedforsecurity=False).hexdigest() + "\n")
    (tree / "var/lib/systemd/linger").mkdir(parents=True, exist_ok=True)
    (tree / "var/lib/systemd/linger" / ORDINARY).touch()
    (tree / "crate-tests").mkdir()
    units = tree / "etc/systemd/system"
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "crate-tests.service").write_text(UNIT.format(uid=uid))
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "crate-tests.service").symlink_to("/etc/systemd/system/crate-tests.service")


def _write_initramfs(to: Path, tree: Path, release: str) -> None:
    directory = tree / "usr/lib/modules" / release
    modules = {f"{Path(one).name.split('.')[0]}.ko": _inflated(directory / one) for one in _in_order(directory)}
    files = {"init": INIT.format(modules=" ".join(modules)).encode(), "bin/busybox": (tree / "bin/busybox").read_bytes()}
    files |= {f"modules/{name}": data for name, data in modules.items()}
    archive = b"".join(_entry(name, 0o40755, b"") for name in ("bin", "modules"))
    archive += b"".join(_entry(name, 0o100755, data) for name, data in files.items())
    to.write_bytes(archive + _entry("TRAILER!!!", 0, b""))


def _in_order(directory: Path) -> list[str]:
    """Return the files of MODULES and what they need, each after what it needs; none that is built in (modules.dep)."""
    needs = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    by_name = {Path(file).name.split(".")[0].replace("-", "_"): file for file in needs}
    found: list[str] = []
    for file in filter(None, map(by_name.get, MODULES)):
        found += [one for one in [*reversed(needs[file]), file] if one not in found]
    return found


def _inflated(module: Path) -> bytes:
    data = module.read_bytes()
    if module.suffix == ".xz":
        return lzma.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if module.suffix == ".zst" else data


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """Return a file as the kernel reads it in an initramfs (cpio's "newc", Documentation/driver-api/early-userspace)."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _kernel_packages() -> list[str]:
    """Return the packages of the newest kernel that apt knows, and of its modules where they are apart. Raises CannotBuild."""
    for attempt in range(2):
        for meta in KERNELS:
            images = _depends(meta, r"linux-image-\d\S*")
            if images:
                return images + _depends(images[0], r"linux-modules-\d\S*")
        if attempt == 0:
            _run("apt-get", "-qq", "update")
    raise CannotBuild(f"apt knows none of {', '.join(KERNELS)}")


def _depends(package: str, pattern: str) -> list[str]:
    told = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True).stdout
    return re.findall(rf"^ +Depends: ({pattern})$", told, re.MULTILINE)[:1]


def _run(*argv: str, cwd: Path | None = None) -> None:
    environment = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
    if done.returncode:
        raise CannotBuild(f"{' '.join(argv[:4])}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def _forget_old_ones() -> None:
    for old in CACHE.glob("machine-*"):
        if old.is_dir() and old.stat().st_mtime < time.time() - DAYS_KEPT * 86400:
            shutil.rmtree(old, ignore_errors=True)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
