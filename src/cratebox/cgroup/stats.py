"""What a cgroup has used and may use, in the form that engines read from `events --stats` ("data" of runc's):
nested dictionaries.

Bytes and nanoseconds since the cgroup was made. What the kernel does not count is left out. v1: admin-guide/cgroup-v1; v2:
admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os

from cratebox.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NO_LIMIT = 2**64 - 1
_MICROSECOND = 1000
_CPUSET = ("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
           "memory_pressure", "sched_load_balance", "sched_relax_domain_level")  # fmt: skip


def of_v1(directories: dict[str, str]) -> dict[str, Any]:
    """Return the figures of a cgroup of v1, whose directories are given by controller, each alone. Raises nothing."""
    place = {name: directories.get(name, "") for name in ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "hugetlb")}
    return {
        "cpu": {
            "usage": _cpu_usage(place["cpuacct"]),
            "throttling": _throttling(_pairs(place["cpu"], "cpu.stat"), "throttled_time", 1),
        },
        "cpuset": _cpuset(place["cpuset"]),
        "memory": _memory_v1(place["memory"]),
        "pids": _pids(place["pids"]),
        "blkio": _block_io_v1(place["blkio"]),
        "hugetlb": _hugepages(place["hugetlb"], ".usage_in_bytes"),
    }


def of_v2(directory: str) -> dict[str, Any]:
    """Return the figures of a cgroup of v2. Raises nothing."""
    times = _pairs(directory, "cpu.stat")
    usage = {
        name: times[field] * _MICROSECOND
        for name, field in (("total", "usage_usec"), ("kernel", "system_usec"), ("user", "user_usec"))
        if field in times
    }
    return {
        "cpu": {
            "usage": usage,
            "throttling": _throttling(times, "throttled_usec", _MICROSECOND),
            **_pressure(directory, "cpu.pressure"),
        },
        "memory": {**_memory_v2(directory), **_pressure(directory, "memory.pressure")},
        "pids": _pids(directory),
        "blkio": {**_block_io_v2(directory), **_pressure(directory, "io.pressure")},
        "hugetlb": hugepages_of_v2(directory),
    }


def hugepages_of_v2(directory: str) -> dict[str, dict[str, int]]:
    """Return the use of huge pages in a cgroup of v2, by the size of the page."""
    return _hugepages(directory, ".current")


def _read(directory: str, file: str) -> str:
    try:
        return tree.read(directory, file) if directory else ""
    except OSError:
        return ""  # not counted, or the cgroup is gone


def _number(directory: str, file: str) -> int | None:
    word = _read(directory, file)
    return _NO_LIMIT if word == "max" else int(word) if word.lstrip("-").isdigit() else None


def _pairs(directory: str, file: str) -> dict[str, int]:
    """Return a flat keyed file: a name and a number a line."""
    rows = [line.split() for line in _read(directory, file).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _known(**values: int | None) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


def _throttling(found: dict[str, int], time: str, unit: int) -> dict[str, int]:
    if "nr_periods" not in found:
        return {}
    return {
        "periods": found["nr_periods"],
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get(time, 0) * unit,
    }


def _cpu_usage(directory: str) -> dict[str, Any]:
    usage: dict[str, Any] = _known(
        total=_number(directory, "cpuacct.usage"),
        kernel=_number(directory, "cpuacct.usage_sys"),
        user=_number(directory, "cpuacct.usage_user"),
    )
    for name, file in (("percpu", "usage_percpu"), ("percpu_kernel", "usage_percpu_sys"), ("percpu_user", "usage_percpu_user")):
        words = _read(directory, f"cpuacct.{file}").split()
        if words:
            usage[name] = [int(word) for word in words]
    return usage


def _cpuset(directory: str) -> dict[str, Any]:
    found: dict[str, Any] = {name: _listed(_read(directory, f"cpuset.{name}")) for name in ("cpus", "mems")}
    for name in _CPUSET:
        value = _number(directory, f"cpuset.{name}")
        if value is not None:
            found[name] = value
    return found if directory else {}


def _listed(text: str) -> list[int]:
    """Return the numbers of a list like 0-2,7 (cpuset(7), List format)."""
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _memory_v1(directory: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, file in (
        ("usage", "memory"),
        ("swap", "memory.memsw"),
        ("kernel", "memory.kmem"),
        ("kernelTCP", "memory.kmem.tcp"),
    ):
        entry = _known(
            limit=_number(directory, file + ".limit_in_bytes"),
            usage=_number(directory, file + ".usage_in_bytes"),
            max=_number(directory, file + ".max_usage_in_bytes"),
            failcnt=_number(directory, file + ".failcnt"),
        )
        if entry:
            found[name] = entry
    raw = _pairs(directory, "memory.stat")
    return {"cache": raw.get("cache", 0), **found, "raw": raw} if raw else found


def _memory_v2(directory: str) -> dict[str, Any]:
    """The entry "swap" is memory and swap together, as v1 counts it and as those who read this expect."""
    raw = _pairs(directory, "memory.stat")
    used, limit = _number(directory, "memory.current"), _number(directory, "memory.max")
    if used is None:
        return {}
    events = _pairs(directory, "memory.events")
    found: dict[str, Any] = {
        "cache": raw.get("file", 0),
        "usage": _known(limit=limit, usage=used, max=_number(directory, "memory.peak"), failcnt=events.get("max", 0)),
    }
    swap, most = _number(directory, "memory.swap.current"), _number(directory, "memory.swap.max")
    if swap is not None and most is not None and limit is not None:
        both = _NO_LIMIT if _NO_LIMIT in {most, limit} else most + limit
        failed = _pairs(directory, "memory.swap.events").get("max", 0)
        found["swap"] = {"limit": both, "usage": used + swap, "failcnt": failed}
    return {**found, "raw": raw}


def _pids(directory: str) -> dict[str, int]:
    most = _number(directory, "pids.max")
    return _known(current=_number(directory, "pids.current"), limit=None if most == _NO_LIMIT else most)


def _block_io_v1(directory: str) -> dict[str, Any]:
    """The scheduler counts, where it is BFQ; else the throttling counts what went past it."""
    found: dict[str, Any] = {}
    for name, file in (("ioServiceBytesRecursive", "io_service_bytes"), ("ioServicedRecursive", "io_serviced")):
        for place in (f"blkio.bfq.{file}_recursive", f"blkio.throttle.{file}_recursive", f"blkio.throttle.{file}"):
            entries = [_entry(*row) for line in _read(directory, place).splitlines() if len(row := line.split()) == 3]
            if entries:
                found[name] = entries
                break
    return found


def _block_io_v2(directory: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in _read(directory, "io.stat").splitlines():
        device, *words = line.split()
        for word in words:
            field, _, value = word.partition("=")
            operation = {"r": "Read", "w": "Write", "d": "Discard"}.get(field[:1])
            name = {"bytes": "ioServiceBytesRecursive", "ios": "ioServicedRecursive"}.get(field[1:])
            if operation and name and value.isdigit():
                found.setdefault(name, []).append(_entry(device, operation, value))
    return found


def _entry(device: str, operation: str, value: str) -> dict[str, Any]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}


def _hugepages(directory: str, suffix: str) -> dict[str, dict[str, int]]:
    try:
        files = os.listdir(directory) if directory else []
    except OSError:
        files = []
    found = {}
    for file in files:
        size = file.removeprefix("hugetlb.").removesuffix(suffix)
        if file != f"hugetlb.{size}{suffix}" or "." in size:
            continue
        events = _pairs(directory, f"hugetlb.{size}.events")
        failed = events.get("max") if events else _number(directory, f"hugetlb.{size}.failcnt")
        most = _number(directory, f"hugetlb.{size}.max_usage_in_bytes")
        found[size] = _known(usage=_number(directory, file), max=most, failcnt=failed or 0)
    return found


def _pressure(directory: str, file: str) -> dict[str, Any]:
    """Return "psi": the share of time that some or all processes wait (Documentation/accounting/psi.rst), or nothing."""
    found: dict[str, dict[str, float]] = {}
    for line in _read(directory, file).splitlines():
        kind, *words = line.split()
        pairs = [word.partition("=") for word in words]
        found[kind] = {name: int(value) if name == "total" else float(value) for name, _, value in pairs}
    return {"psi": found} if found else {}
