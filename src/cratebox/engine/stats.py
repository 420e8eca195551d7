"""`stats`: what containers use of the machine, by their cgroups (cgroup/stats.py) and the counters of their network.

Memory is Docker's: without the pages of files that the kernel can drop at once (inactive_file). A container that shares the
network of this machine has no traffic of its own.
"""

from __future__ import annotations

import os
import time

from cratebox.engine import records
from cratebox.errors import Conflict, NotFound, Unsupported
from cratebox.record import Record
from cratebox.runtime import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from cratebox.engine.records import ContainerStatus
    from cratebox.paths import Paths

_FIRST, _INTERVAL = 0.5, 1.0  # seconds between two looks
_SECOND = 1_000_000_000


class Usage(Record):
    """What a container uses; None is not counted, and `missing` says why where nothing is.

    `cpu` is in percent of one processor, since the look before; `cpu_time` in nanoseconds, everything else in bytes.
    """

    id: str
    name: str
    taken: int = 0  # nanoseconds of the monotonic clock
    cpu: float | None = None
    cpu_time: int | None = None
    memory: int | None = None
    memory_limit: int | None = None
    received: int | None = None
    sent: int | None = None
    read: int | None = None
    written: int | None = None
    pids: int | None = None
    missing: str = ""


def watch(find: Callable[[], Sequence[ContainerStatus]], paths: Paths) -> Iterator[list[Usage]]:
    """Yield what the containers that `find` returns use, again and again, a second apart."""
    before = {one.id: one for one in _look(find, paths)}
    time.sleep(_FIRST)
    while True:
        now = [_since(before.get(one.id), one) for one in _look(find, paths)]
        yield now
        before = {one.id: one for one in now}
        time.sleep(_INTERVAL)


def named(paths: Paths, identities: Sequence[str]) -> Sequence[ContainerStatus]:
    """Return those of the containers that are still there."""
    found = []
    for identity in identities:
        try:
            found.append(records.status(paths, records.load(paths, identity)))
        except NotFound:
            continue
    return found


def _look(find: Callable[[], Sequence[ContainerStatus]], paths: Paths) -> list[Usage]:
    return [of(paths, status) for status in find()]


def _since(before: Usage | None, now: Usage) -> Usage:
    if before is None or before.cpu_time is None or now.cpu_time is None or now.taken <= before.taken:
        return now
    return now.replace(cpu=max(now.cpu_time - before.cpu_time, 0) / (now.taken - before.taken) * 100)


def of(paths: Paths, status: ContainerStatus) -> Usage:
    """Return what a container uses now; one that does not run uses nothing."""
    try:
        data = control.stats(paths.running, status.id)
    except (Conflict, NotFound):
        return Usage(status.id, status.name, cpu=0.0, memory=0, memory_limit=0, received=0, sent=0, read=0, written=0, pids=0)
    except Unsupported as error:
        return Usage(status.id, status.name, missing=error.message)
    memory, limit = _memory(data.get("memory", {}))
    received, sent = _traffic(status.pid)
    return Usage(
        id=status.id,
        name=status.name,
        taken=time.monotonic_ns(),
        cpu_time=data["cpu"]["usage"].get("total"),
        memory=memory,
        memory_limit=limit,
        received=received,
        sent=sent,
        read=_transferred(data, "Read"),
        written=_transferred(data, "Write"),
        pids=data["pids"].get("current"),
    )


def _memory(found: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return what is used, and how much can be: no more than the machine has."""
    used = found.get("usage", {}).get("usage")
    if used is None:
        return None, None
    raw = found.get("raw", {})
    droppable = raw.get("total_inactive_file", raw.get("inactive_file", 0))
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(used - droppable, 0) if droppable < used else used, min(found["usage"].get("limit", whole), whole)


def _transferred(data: dict[str, Any], operation: str) -> int:
    entries = data["blkio"].get("ioServiceBytesRecursive", ())
    return sum(int(entry["value"]) for entry in entries if entry["op"].lower() == operation.lower())


def _traffic(pid: int) -> tuple[int | None, int | None]:
    """Return what came in and went out by all network devices but lo (proc_pid_net(5), /proc/PID/net/dev)."""
    try:
        if os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            return 0, 0
        with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
            rows = [line.partition(":") for line in file.readlines()[2:]]
    except OSError:
        return None, None  # it has just ended, or is not ours to look at
    counts = [figures.split() for name, _, figures in rows if name.strip() != "lo"]
    return sum(int(row[0]) for row in counts), sum(int(row[8]) for row in counts)
