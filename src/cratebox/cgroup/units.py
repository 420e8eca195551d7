"""A container's unit of systemd: its name, its slice, and a linux.resources as the unit's properties. Pure.

cgroupsPath is then "slice:prefix:name", for the scope PREFIX-NAME.scope. Properties: systemd.resource-control(5) and
org.freedesktop.systemd1(5), as (name, (D-Bus signature, value)). Each has its file as well, written by us: a property keeps
systemd from setting the file back when it loads its units anew.
"""

from __future__ import annotations

from cratebox.cgroup.files_v2 import weight_of_block_io, weight_of_shares
from cratebox.errors import InvalidValue
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.model import CPU, DeviceRule, Memory, Resources

    Property = tuple[str, tuple[str, Any]]

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.\\@")
_NO_LIMIT = 2**64 - 1
_SECOND = 1_000_000  # microseconds
_STEP = 10_000  # microseconds a second: systemd counts processor time in whole percents
_UNIFIED = {
    "memory.min": "MemoryMin", "memory.low": "MemoryLow", "memory.high": "MemoryHigh", "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax", "cpu.weight": "CPUWeight", "io.weight": "IOWeight",
}  # fmt: skip


class Unit(Record):
    """`name` is the scope, `slice` what it is in."""

    slice: str
    name: str


def parse(path: str, rootless: bool) -> Unit:
    """Return the unit of a cgroupsPath "slice:prefix:name"; an empty slice is the default. Raises InvalidValue."""
    parts = path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise InvalidValue(f"cgroupsPath {path!a} is not slice:prefix:name, as the systemd driver needs it")
    slice_, prefix, name = parts
    slice_ = slice_ or ("user.slice" if rootless else "system.slice")
    directory_of(slice_)
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if not set(unit) <= _LETTERS or len(unit) > 255 or unit.startswith("."):
        raise InvalidValue(f"cgroupsPath {path!a}: {unit!a} is not the name of a unit")
    return Unit(slice_, unit)


def directory_of(slice_: str) -> str:
    """Return the cgroup of a slice: "/a.slice/a-b.slice" for "a-b.slice". Raises InvalidValue (systemd.slice(5))."""
    if slice_ == "-.slice":
        return "/"
    name = slice_.removesuffix(".slice")
    parts = name.split("-")
    if name == slice_ or not all(parts) or not set(name) <= _LETTERS or len(slice_) > 255 or name.startswith("."):
        raise InvalidValue(f"{slice_!a} is not the name of a slice")
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


def of_scope(unit: Unit, pid: int, v2: bool) -> list[Property]:
    """Return what makes a scope of process `pid` a container's: the cgroup below it is ours, and everything is counted."""
    io = "IOAccounting" if v2 else "BlockIOAccounting"
    return [
        ("Description", ("s", f"container {unit.name.removesuffix('.scope')}")),
        ("Slice", ("s", unit.slice)),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        ("DefaultDependencies", ("b", False)),  # the engine stops its containers, not the machine's shutdown
        ("CollectMode", ("s", "inactive-or-failed")),  # nothing stays of one that failed
        *((name, ("b", True)) for name in ("CPUAccounting", "MemoryAccounting", "TasksAccounting", io)),
    ]


def of_limits(resources: Resources, v2: bool) -> list[Property]:
    """Return the limits that systemd knows, for `resources` that are checked."""
    found: list[Property] = []
    if resources.memory:
        found += _memory_v2(resources.memory) if v2 else _known(MemoryLimit=_limit(resources.memory.limit))
    if resources.cpu:
        found += _cpu(resources.cpu, v2)
    if resources.pids and resources.pids.limit is not None:
        found += _known(TasksMax=_limit(resources.pids.limit or 1))  # systemd takes no 0; the file has it
    weight = resources.block_io.weight if resources.block_io else None
    if weight:
        found += _known(IOWeight=weight_of_block_io(weight)) if v2 else _known(BlockIOWeight=weight)
    for file, value in (resources.unified or {}).items():
        if file in _UNIFIED and (value.isdigit() or value == "max"):
            found.append((_UNIFIED[file], ("t", _NO_LIMIT if value == "max" else int(value))))
    return found


def of_devices(rules: tuple[DeviceRule, ...], groups: dict[tuple[str, int], str]) -> list[Property]:
    """Return the list of allowed devices. `groups`: the drivers' names by type and major number, from /proc/devices.

    systemd knows a list of what is allowed and nothing else: for rules that are no such list, DevicePolicy is auto and ours
    alone decide.
    """
    everything = [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    first = next((number for number in range(len(rules) - 1, -1, -1) if _is_everything(rules[number])), -1)
    if first >= 0 and rules[first].allow:
        return everything
    allowed: list[tuple[str, str]] = []
    for rule in rules[first + 1 :]:
        if not rule.allow:
            return everything
        for kind in ("b", "c") if rule.type in {"a", ""} else ("c" if rule.type == "u" else rule.type,):
            name = _device(kind, rule, groups)
            if name is None:
                return everything
            if name:
                allowed.append((name, rule.access or "rwm"))
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))] if rules else []


def groups_in(devices: str) -> dict[tuple[str, int], str]:
    """Return the names in a text of /proc/devices (proc(5)), by type and major number."""
    found = {}
    kind = ""
    for line in devices.splitlines():
        if line.endswith(":"):
            kind = line[:1].lower()
        elif kind and (words := line.split(None, 1)):
            found[kind, int(words[0])] = words[1]
    return found


def _device(kind: str, rule: DeviceRule, groups: dict[tuple[str, int], str]) -> str | None:
    """Return a device as DeviceAllow names it; "" for a driver that is not there, None for what it has no name for."""
    word = {"b": "block", "c": "char"}[kind]
    major, minor = (-1 if number is None else number for number in (rule.major, rule.minor))
    if major >= 0 and minor >= 0:
        return f"/dev/{word}/{major}:{minor}"
    if major >= 0:
        group = groups.get((kind, major))
        return f"{word}-{group}" if group else ""
    return f"{word}-*" if minor < 0 else None


def _is_everything(rule: DeviceRule) -> bool:
    numbers = {rule.major, rule.minor} <= {None, -1}
    return rule.type in {"a", ""} and numbers and len(rule.access or "rwm") == 3


def _memory_v2(memory: Memory) -> list[Property]:
    swap = memory.swap
    if not swap and memory.limit == -1:
        swap = -1
    alone = None
    if swap and swap < 0:
        alone = _NO_LIMIT
    elif swap and memory.limit and memory.limit > 0:
        alone = swap - memory.limit
    return _known(MemoryMax=_limit(memory.limit), MemoryLow=_limit(memory.reservation), MemorySwapMax=alone)


def _cpu(cpu: CPU, v2: bool) -> list[Property]:
    found = []
    if cpu.shares:
        found += _known(CPUWeight=weight_of_shares(cpu.shares)) if v2 else _known(CPUShares=min(max(cpu.shares, 2), 262144))
    if cpu.period:
        found += _known(CPUQuotaPeriodUSec=cpu.period)
    if cpu.quota:
        found += _known(CPUQuotaPerSecUSec=quota_a_second(cpu.quota, cpu.period or 100_000))
    for name, numbers in (("AllowedCPUs", cpu.cpus), ("AllowedMemoryNodes", cpu.mems)) if v2 else ():
        if numbers:
            found.append((name, ("ay", bits(numbers))))
    return found


def quota_a_second(quota: int, period: int) -> int:
    """Return microseconds of processor time a second, in systemd's steps and never less than asked for."""
    if quota < 0:
        return _NO_LIMIT
    exact = -(-quota * _SECOND // period)
    return -(-exact // _STEP) * _STEP


def bits(numbers: str) -> bytes:
    """Return a list like 0-2,7 as a set of bits, the lowest byte first. Raises InvalidValue."""
    mask = 0
    for part in numbers.split(","):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError:
            raise InvalidValue(f"resources.cpu: {numbers!a} is not a list like 0-2,4") from None
        if not 0 <= low <= high < 8192:
            raise InvalidValue(f"resources.cpu: {numbers!a} is not a list like 0-2,4")
        mask |= ((1 << (high - low + 1)) - 1) << low
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _limit(value: int | None) -> int | None:
    return _NO_LIMIT if value is not None and value < 0 else value


def _known(**values: int | None) -> list[Property]:
    return [(name, ("t", value)) for name, value in values.items() if value is not None]
