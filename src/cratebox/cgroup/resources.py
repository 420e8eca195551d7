"""OCI linux.resources made into what is written to which file of a cgroup, for v1 and v2. Pure.

config-linux.md, Control groups. v1: Documentation/admin-guide/cgroup-v1; v2: admin-guide/cgroup-v2.rst. What cannot be set is
refused by name, for a limit that silently does not hold is worse than none.
"""

from __future__ import annotations

from cratebox.errors import InvalidValue, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PERIOD = 100_000  # microseconds, the kernel's default
_UNSUPPORTED = ("blockIO", "hugepageLimits", "network", "rdma", "vtpms")
_UNSUPPORTED_IN = {"memory": ("kernel", "kernelTCP"), "cpu": ("realtimeRuntime", "realtimePeriod")}


def limits_in(resources: dict[str, Any] | None) -> list[str]:
    """Return the names of the limits that are set ("memory.limit"), device rules left out. Raises nothing."""
    found = []
    for group, value in (resources or {}).items():
        if group == "devices" or not value:
            continue
        fields = value if isinstance(value, dict) else {}
        found += [f"{group}.{field}" for field, number in fields.items() if number not in (None, False, "", [], {})]
        if not isinstance(value, dict):
            found.append(group)
    return [name for name in found if name not in {"memory.useHierarchy", "memory.checkBeforeUpdate"}]


def check(resources: dict[str, Any]) -> None:
    """Raise InvalidValue or Unsupported for what no cgroup can be given, of whichever version. Device rules included."""
    from cratebox.cgroup.devices import v1_lines

    for_v1({**resources, "unified": None})
    _unified(resources)
    rules = resources.get("devices")
    if rules is not None and not isinstance(rules, list):
        raise InvalidValue("resources.devices is not a list")
    v1_lines(rules or [])


def for_v1(resources: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (controller, file, value) in the order of writing. Raises InvalidValue, Unsupported."""
    memory, cpu, pids = _groups(resources)
    if resources.get("unified"):
        raise Unsupported("cannot set resources.unified: this machine has cgroup v1")
    writes = []
    limit, swap = _integer(memory, "memory", "limit", -1), _swap(memory)
    for file, value in (
        ("memory.limit_in_bytes", limit),
        ("memory.memsw.limit_in_bytes", swap),  # memory and swap together; never below the limit, so after it
        ("memory.soft_limit_in_bytes", _integer(memory, "memory", "reservation", -1)),
        ("memory.swappiness", _integer(memory, "memory", "swappiness", 0)),
    ):
        if value is not None:
            writes.append(("memory", file, str(value)))
    if _boolean(memory, "memory", "disableOOMKiller"):
        writes.append(("memory", "memory.oom_control", "1"))
    for file, value in (
        ("cpu.shares", _integer(cpu, "cpu", "shares", 0) or None),
        ("cpu.cfs_period_us", _integer(cpu, "cpu", "period", 0) or None),
        ("cpu.cfs_quota_us", _integer(cpu, "cpu", "quota", -1) or None),  # within the period, so after it
        ("cpu.cfs_burst_us", _integer(cpu, "cpu", "burst", 0)),
        ("cpu.idle", _integer(cpu, "cpu", "idle", 0)),
    ):
        if value is not None:
            writes.append(("cpu", file, str(value)))
    writes += [("cpuset", f"cpuset.{field}", value) for field, value in _cpuset(cpu)]
    if pids is not None:
        writes.append(("pids", "pids.max", _limit(pids)))
    return writes


def for_v2(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (file, value) in the order of writing. Raises InvalidValue, Unsupported."""
    memory, cpu, pids = _groups(resources)
    for field in ("swappiness", "disableOOMKiller"):
        if memory.get(field) not in (None, False):
            raise Unsupported(f"cannot set memory.{field}: cgroup v2 has no such thing")
    writes = _memory_v2(memory)
    shares = _integer(cpu, "cpu", "shares", 0)
    if shares:
        writes.append(("cpu.weight", str(weight_of(shares))))
    quota, period = _integer(cpu, "cpu", "quota", -1), _integer(cpu, "cpu", "period", 0)
    if quota or period:
        writes.append(("cpu.max", f"{_limit(quota) if quota else 'max'} {period or _PERIOD}"))
    for file, value in (("cpu.max.burst", _integer(cpu, "cpu", "burst", 0)), ("cpu.idle", _integer(cpu, "cpu", "idle", 0))):
        if value is not None:
            writes.append((file, str(value)))
    writes += [(f"cpuset.{field}", value) for field, value in _cpuset(cpu)]
    if pids is not None:
        writes.append(("pids.max", _limit(pids)))
    return writes + _unified(resources)


def weight_of(shares: int) -> int:
    """Return v2's cpu.weight (1 to 10000) of v1's cpu.shares (2 to 262144), end to end in a line as the other runtimes do."""
    shares = min(max(shares, 2), 262144)
    return 1 + (shares - 2) * 9999 // 262142


def _memory_v2(memory: dict[str, Any]) -> list[tuple[str, str]]:
    writes = []
    limit, swap = _integer(memory, "memory", "limit", -1), _swap(memory)
    if limit is not None:
        writes.append(("memory.max", _limit(limit)))
    if swap is not None:
        # OCI counts memory and swap together, v2 swap alone.
        writes.append(("memory.swap.max", "max" if swap < 0 else str(swap - (limit or 0))))
    reservation = _integer(memory, "memory", "reservation", -1)
    if reservation is not None:
        writes.append(("memory.low", _limit(reservation)))
    return writes


def _groups(resources: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int | None]:
    """Return memory, cpu and the limit of pids. Raises Unsupported for what is set and not known to us."""
    for group in _UNSUPPORTED:
        if any(value for value in _values(resources.get(group))):
            raise Unsupported(f"cannot set resources.{group}: crate does not do it yet")
    memory, cpu, pids = (_dictionary(resources, group) for group in ("memory", "cpu", "pids"))
    for group, fields in (("memory", memory), ("cpu", cpu)):
        for field in _UNSUPPORTED_IN[group]:
            if fields.get(field) not in (None, 0, -1):
                raise Unsupported(f"cannot set {group}.{field}: crate does not do it")
    return memory, cpu, _integer(pids, "pids", "limit", -1)


def _dictionary(resources: dict[str, Any], group: str) -> dict[str, Any]:
    value = resources.get(group)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidValue(f"resources.{group} is not an object")
    return value


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _integer(fields: dict[str, Any], group: str, field: str, least: int) -> int | None:
    value = fields.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**64:
        raise InvalidValue(f"resources.{group}.{field}: {value!r} is not a number of at least {least}")
    return value


def _boolean(fields: dict[str, Any], group: str, field: str) -> bool:
    value = fields.get(field)
    if value is not None and not isinstance(value, bool):
        raise InvalidValue(f"resources.{group}.{field}: {value!r} is not true or false")
    return bool(value)


def _swap(memory: dict[str, Any]) -> int | None:
    """Return memory.swap, which counts memory as well. Raises InvalidValue where it is not above the limit."""
    limit, swap = _integer(memory, "memory", "limit", -1), _integer(memory, "memory", "swap", -1)
    if not swap or swap < 0:
        return swap or None
    if limit is None or limit < 0:
        raise InvalidValue("resources.memory.swap is a limit of memory and swap together: it needs memory.limit")
    if swap < limit:
        raise InvalidValue(f"resources.memory.swap, {swap}, counts memory as well: it cannot be below memory.limit, {limit}")
    return swap


def _cpuset(cpu: dict[str, Any]) -> list[tuple[str, str]]:
    writes = []
    for field in ("cpus", "mems"):
        value = cpu.get(field)
        if not value:
            continue
        if not isinstance(value, str) or not set(value) <= set("0123456789,-"):
            raise InvalidValue(f"resources.cpu.{field}: {value!r} is not a list like 0-2,4")
        writes.append((field, value))
    return writes


def _unified(resources: dict[str, Any]) -> list[tuple[str, str]]:
    writes = []
    for file, value in _dictionary(resources, "unified").items():
        named = file.isascii() and file.replace("_", "").replace(".", "").isalnum() and "." in file[1:]
        if not named or file.startswith((".", "cgroup.")) or not isinstance(value, str):
            raise InvalidValue(f"resources.unified: {file!r} is not a file of a controller with a text")
        writes.append((file, value))
    return writes


def _limit(value: int) -> str:
    """Return a limit as v2 and the pids controller write it; nothing below 1 is one."""
    return str(value) if value > 0 else "max"
