"""Which limits this machine can set for this user, and what keeps it from the others."""

from __future__ import annotations

import os
import stat

from cratebox.cgroup import detect, mounts, tree
from cratebox.engine import limits
from cratebox.engine.config import Limits
from cratebox.engine.limit_words import numbers
from cratebox.errors import InvalidValue, Unsupported
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.base import Driver

# The controllers of v1 and of v2 that each flag takes; an empty name: that version has no such thing.
_CONTROLLERS = {
    **dict.fromkeys(("memory", "memory-reservation", "memory-swap"), ("memory", "memory")),
    **dict.fromkeys(("memory-swappiness", "oom-kill-disable"), ("memory", "")),
    **dict.fromkeys(("cpus", "cpu-shares", "cpu-period", "cpu-quota"), ("cpu", "cpu")),
    **dict.fromkeys(("cpuset-cpus", "cpuset-mems"), ("cpuset", "cpuset")),
    "pids-limit": ("pids", "pids"),
    **dict.fromkeys(("blkio-weight", "blkio-weight-device"), ("blkio", "io")),
    **dict.fromkeys(("device-read-bps", "device-write-bps", "device-read-iops", "device-write-iops"), ("blkio", "io")),
}  # fmt: skip
_WEIGHTS = {"blkio-weight", "blkio-weight-device"}
_DELEGATION = (
    "as root: systemctl edit user@.service, with [Service] and Delegate=cpu cpuset io memory pids; log in anew, "
    "and run crate below systemd-run --user --scope"
)

_VERSION_2 = (
    "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line, and run crate below systemd-run --user --scope"
)


class Capacity(Record):
    """`version`: of the cgroups, 0 where there are none, and `reason` and `hint` say why.
    `cpus` and `mems` are lists as in "0-3".
    """

    version: int
    controllers: frozenset[str]
    counts_swap: bool = False
    weights: bool = False
    cpus: str = ""
    mems: str = ""
    reason: str = ""
    hint: str = ""

    def lacks(self, flag: str) -> str:
        """Return why `flag` ("memory") cannot be had here, "" where it can."""
        if self.reason:
            return self.reason
        if flag == "cgroup-conf":
            return "" if self.version == 2 else "this machine has cgroup v1"
        controller = _CONTROLLERS[flag][self.version - 1]
        if not controller:
            return "cgroup v2 has no such thing"
        if controller not in self.controllers:
            return f"the {controller} controller of cgroups is not available"
        if flag == "memory-swap" and not self.counts_swap:
            return "this kernel does not count swap"
        return "this kernel has no weights of disks" if flag in _WEIGHTS and not self.weights else ""


def capacity(rootless: bool) -> Capacity:
    """Return what the machine has. Raises nothing: what cannot be read is not there."""
    driver = detect.driver("", rootless)
    if driver.name == "disabled":
        reason, hint = (driver.reason, _DELEGATION) if rootless else (driver.reason, "")
        if rootless and _has_v1():
            reason, hint = "this machine has cgroup v1, whose limits take root", _VERSION_2
        return Capacity(version=0, controllers=frozenset(), reason=reason, hint=hint)
    found = _of_v1(driver) if driver.name == "v1" else _of_v2(driver)
    return found.replace(
        cpus=_first(("/sys/devices/system/cpu/online",)),
        mems=_first(("/sys/devices/system/node/online",)) or "0",
        hint=_DELEGATION if rootless else "",
    )


def _has_v1() -> bool:
    try:
        return any(not names.startswith("name=") for names, _ in mounts.find()[0])
    except OSError:
        return False


def _of_v1(driver: Driver) -> Capacity:
    places = {name: where for names, where in driver.hierarchies for name in names.split(",")}  # type: ignore[attr-defined]
    return Capacity(
        version=1,
        controllers=frozenset(places),
        counts_swap=os.path.exists(places.get("memory", "") + "/memory.memsw.limit_in_bytes"),
        weights=any(
            os.path.exists(places.get("blkio", "") + file) for file in ("/blkio.bfq.io_service_bytes", "/blkio.weight")
        ),
    )


def _of_v2(driver: Driver) -> Capacity:
    place: str = driver.place  # type: ignore[attr-defined]
    try:
        controllers = frozenset(tree.read(place, "cgroup.controllers").split())
    except OSError:
        controllers = frozenset()
    return Capacity(
        version=2,
        controllers=controllers,
        # The root has no such file; a kernel that swaps counts it.
        counts_swap=os.path.exists(place + "/memory.swap.max") or os.path.exists("/proc/swaps"),
        weights=any(os.path.exists(place + file) for file in ("/io.bfq.weight", "/io.weight", "/io.cost.qos")),
    )


def _first(paths: tuple[str, ...]) -> str:
    for path in paths:
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            continue
    return ""


def check(wanted: Limits, here: Capacity) -> None:
    """Raise Unsupported for a limit that cannot be had here, and says how; InvalidValue for what the machine does not have."""
    for flag in limits.flags_in(wanted):
        why = here.lacks(flag)
        if why:
            raise Unsupported(f"--{flag} cannot be had here: {why}", here.hint or None)
    _check_listed("--cpuset-cpus", wanted.cpuset_cpus, here.cpus, "processors")
    _check_listed("--cpuset-mems", wanted.cpuset_mems, here.mems, "memory nodes")
    count = os.cpu_count() or 1
    if wanted.nano_cpus and wanted.nano_cpus > count * 1_000_000_000:
        raise InvalidValue(f"--cpus {wanted.nano_cpus / 1e9:g}: this machine has {count} processors")
    disks(wanted)


def _check_listed(flag: str, wanted: str | None, here: str, what: str) -> None:
    if wanted and here and numbers(wanted, flag) - numbers(here, flag):
        raise InvalidValue(f"{flag} {wanted}: this machine has the {what} {here}")


def disks(wanted: Limits) -> dict[str, tuple[int, int]]:
    """Return major and minor of each disk that is limited, by its path. Raises InvalidValue for what is none."""
    found = {}
    for path in sorted(limits.disks_in(wanted)):
        try:
            info = os.stat(path)
        except OSError as error:
            raise InvalidValue(f"cannot limit the disk {path}: {error.strerror}") from None
        if not stat.S_ISBLK(info.st_mode):
            raise InvalidValue(f"cannot limit {path}: it is no block device", "lsblk lists the disks")
        found[path] = os.major(info.st_rdev), os.minor(info.st_rdev)
    return found


def told(here: Capacity) -> dict[str, str]:
    """Return the flags of run that limit, without dashes, and why each cannot be had here, "" where it can:
    for `crate info`.
    """
    return {flag: here.lacks(flag) for flag in (*_CONTROLLERS, "cgroup-conf")}
