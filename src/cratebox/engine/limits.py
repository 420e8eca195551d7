"""What the limits of a container must be together, and what they are in the OCI's words (config-linux.md, Control groups).
Pure.

The rules and the defaults are Docker's (daemon_unix.go, verifyPlatformContainerResources).
"""

from __future__ import annotations

from cratebox.cgroup.model import CPU, BlockIO, Memory, Pids, Resources, ThrottleDevice, WeightDevice
from cratebox.engine.config import DeviceLimit, Limits
from cratebox.engine.limit_words import numbers
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Disks = dict[str, tuple[int, int]]  # path of a disk -> major and minor

LEAST_MEMORY = 6 << 20  # bytes: with less the kernel kills a container while it starts
PERIOD = 100_000  # microseconds, in which --cpus hands out its share


def check(limits: Limits) -> None:
    """Raise InvalidValue for what contradicts itself, or what no kernel takes."""
    _check_memory(limits)
    _check_cpu(limits)
    for flag, listed in (("--cpuset-cpus", limits.cpuset_cpus), ("--cpuset-mems", limits.cpuset_mems)):
        if listed:
            numbers(listed, flag)


def _check_memory(limits: Limits) -> None:
    memory, swap, reservation = limits.memory or 0, limits.memory_swap or 0, limits.memory_reservation or 0
    for flag, value in (("--memory", memory), ("--memory-reservation", reservation)):
        if 0 < value < LEAST_MEMORY:
            raise InvalidValue(f"{flag} is {value} bytes: no container starts with less than 6 MiB", f"{flag} 6m, or more")
    if swap > 0 and memory <= 0:
        raise InvalidValue("--memory-swap is for memory and swap together, and there is no --memory", "give both")
    if 0 < swap < memory:
        raise InvalidValue(
            f"--memory-swap {swap} is below --memory {memory}: it counts memory and swap together",
            "give the sum of both; the same as --memory for no swap, -1 for any",
        )
    if 0 < memory < reservation:
        raise InvalidValue(
            f"--memory-reservation {reservation} is above --memory {memory}", "it is what is left to it where memory is scarce"
        )


def _check_cpu(limits: Limits) -> None:
    if limits.nano_cpus:
        for flag, value in (("--cpu-period", limits.cpu_period), ("--cpu-quota", limits.cpu_quota)):
            if value:
                raise InvalidValue(
                    f"--cpus and {flag} say the same thing in two ways",
                    "leave one out: --cpus 1.5 is a quota of 150000 in 100000",
                )
        if limits.nano_cpus < 10_000_000:
            raise InvalidValue(
                "--cpus: the kernel gives out no less than 0.01 processors", "--cpu-shares 2 is for what may starve"
            )
    if limits.cpu_period and not 1000 <= limits.cpu_period <= 1_000_000:
        raise InvalidValue(f"--cpu-period is 1000 to 1000000 microseconds, not {limits.cpu_period}")
    if limits.cpu_quota and 0 < limits.cpu_quota < 1000:
        raise InvalidValue(f"--cpu-quota is 1000 microseconds or more, not {limits.cpu_quota}", "-1 for no limit")


def flags_in(limits: Limits) -> list[str]:
    """Return the flags that ask for something, without their dashes."""
    return [
        _FLAGS.get(name, name.replace("_", "-")) for name in limits.__dict__ if getattr(limits, name) not in (None, (), {}, "")
    ]


_FLAGS = {
    "nano_cpus": "cpus",
    "pids": "pids-limit",
    "weight_devices": "blkio-weight-device",
    "unified": "cgroup-conf",
    **{name: "device-" + name.replace("_", "-") for name in ("read_bps", "write_bps", "read_iops", "write_iops")},
}


def disks_in(limits: Limits) -> set[str]:
    """Return the paths of the disks that are limited."""
    every = (limits.weight_devices, limits.read_bps, limits.write_bps, limits.read_iops, limits.write_iops)
    return {one.path for group in every for one in group}


def resources(limits: Limits, disks: Disks, counts_swap: bool = True) -> Resources:
    """Return linux.resources without device rules. `disks` has all of `disks_in`.

    Where the kernel does not count swap (`counts_swap`), the limit of swap that nobody asked for is left out.
    """
    return Resources(
        memory=_memory(limits, counts_swap),
        cpu=_cpu(limits),
        pids=None if limits.pids is None else Pids(limits.pids),
        block_io=_block_io(limits, disks),
        unified=limits.unified,
    )


def _memory(limits: Limits, counts_swap: bool) -> Memory | None:
    swap = limits.memory_swap
    if swap is None and limits.memory and limits.memory > 0 and counts_swap:
        swap = 2 * limits.memory
    disable = limits.oom_kill_disable or None
    found = Memory(
        limit=limits.memory,
        reservation=limits.memory_reservation,
        swap=swap,
        swappiness=limits.memory_swappiness,
        disable_oom_killer=disable,
    )
    return None if found == Memory() else found


def _cpu(limits: Limits) -> CPU | None:
    quota, period = limits.cpu_quota, limits.cpu_period
    if limits.nano_cpus:
        quota, period = limits.nano_cpus * PERIOD // 1_000_000_000, PERIOD
    found = CPU(
        shares=limits.cpu_shares, quota=quota, period=period, cpus=limits.cpuset_cpus or "", mems=limits.cpuset_mems or ""
    )
    return None if found == CPU() else found


def _block_io(limits: Limits, disks: Disks) -> BlockIO | None:
    found = BlockIO(
        weight=limits.blkio_weight,
        weight_device=tuple(WeightDevice(*disks[one.path], one.value) for one in limits.weight_devices),
        throttle_read_bps_device=_throttles(limits.read_bps, disks),
        throttle_write_bps_device=_throttles(limits.write_bps, disks),
        throttle_read_iops_device=_throttles(limits.read_iops, disks),
        throttle_write_iops_device=_throttles(limits.write_iops, disks),
    )
    return None if found == BlockIO() else found


def _throttles(rates: Iterable[DeviceLimit], disks: Disks) -> tuple[ThrottleDevice, ...]:
    return tuple(ThrottleDevice(*disks[one.path], one.value) for one in rates)
