"""What is done to a container that is there: pause, resume, ps, update, events. All of it goes through its cgroup."""

from __future__ import annotations

import os
import select
import time

from cratebox.cgroup import base as cgroups
from cratebox.errors import Conflict, CrateError, Unsupported
from cratebox.linux import pidfds
from cratebox.runtime import place
from cratebox.runtime import state as saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_LONGEST_WAIT = 3_600_000  # ms: poll(2) takes an int


def _alive(directory: str, *wanted: str) -> tuple[saved.State, cgroups.Cgroup]:
    """Return the container's state and cgroup. Raises NotFound, Conflict unless its status is one of `wanted`."""
    found = saved.load(directory)
    now = saved.status(found, directory)
    if now not in wanted:
        raise Conflict("container not running" if now in {"creating", "stopped"} else f"container is {now}")
    return found, cgroups.from_paths(found.cgroup)


def pause(root: str, name: str) -> None:
    """Freeze the processes of a container. Raises NotFound, Conflict where it does not run or is paused, Unsupported."""
    directory = place.directory_of(root, name)
    lock = place.lock(directory)
    try:
        found, group = _alive(directory, "created", "running")
        group.freeze()
        if pidfds.start_time(found.pid) != found.started:  # it ended meanwhile: what is still on its way in must not stay there
            group.thaw()
            raise Conflict("container not running")
    finally:
        os.close(lock)


def resume(root: str, name: str) -> None:
    """Let the processes of a paused container go on. Raises NotFound, Conflict where it is not paused, Unsupported."""
    directory = place.directory_of(root, name)
    lock = place.lock(directory)
    try:
        found = saved.load(directory)
        now = saved.status(found, directory)
        if now != "paused":
            raise Conflict("container not paused" if now in {"created", "running"} else "container not running")
        cgroups.from_paths(found.cgroup).thaw()
    finally:
        os.close(lock)


def processes(root: str, name: str) -> list[int]:
    """Return the pids of a container's processes, as this process sees them. Raises NotFound, Conflict where it has none.

    Without a cgroup of its own it is asked for its PID namespace.
    """
    found, group = _alive(place.directory_of(root, name), "created", "running", "paused")
    if found.cgroup:
        return group.pids()
    return namespace_pids(found.pid) if found.own_pids else [found.pid]


def namespace_pids(leader: int) -> list[int]:
    """Return the processes in the PID namespace of `leader`; of one that is ours as well, `leader` alone."""
    wanted = pid_namespace(leader)
    if not wanted or wanted == pid_namespace(os.getpid()):
        return [leader]
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and pid_namespace(int(entry)) == wanted]


def pid_namespace(pid: int) -> str:
    """Return the name of the PID namespace that process `pid` is in, "" where that cannot be told."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def update(root: str, name: str, resources: Any) -> None:
    """Change the limits of a container; `resources` is a parsed linux.resources, what it does not name stays as it is.

    Raises InvalidValue for what it must not be, before anything is changed, NotFound, Conflict, Unsupported, RuntimeFailure.
    """
    from cratebox.cgroup import model
    from cratebox.cgroup.resources import check

    wanted = model.decode(resources)
    check(wanted)
    directory = place.directory_of(root, name)
    lock = place.lock(directory)
    try:
        _alive(directory, "created", "running", "paused")[1].update(wanted)
    finally:
        os.close(lock)


def update_rdt(root: str, name: str, cache: str, bandwidth: str) -> None:
    """Change the schemata of the container's class of service: `cache` (L3:...), `bandwidth` (MB:...), "" leaves what is.

    Raises NotFound, Conflict, Unsupported where there is no resctrl, RuntimeFailure where the kernel refuses.
    """
    from cratebox.runtime import rdt
    from cratebox.runtime.spec import IntelRdt

    mounted = rdt.find()
    directory = place.directory_of(root, name)
    lock = place.lock(directory)
    try:
        found = _alive(directory, "created", "running", "paused")[0]
        linux = saved.load_spec(directory).linux
        own = (linux.intel_rdt if linux else None) or IntelRdt()
        wanted = IntelRdt(clos_id=own.clos_id, l3_cache_schema=cache, mem_bw_schema=bandwidth)
        made = rdt.change(wanted, name, found.pid, mounted)
        if made:
            saved.save(directory, found.replace(resctrl=(*made, *found.resctrl)))
    finally:
        os.close(lock)


def stats(root: str, name: str) -> dict[str, Any]:
    """Return what a container uses, as "data" of runc's `events --stats`. Raises NotFound, Conflict, Unsupported."""
    return _alive(place.directory_of(root, name), "created", "running", "paused")[1].stats()


def watch_events(root: str, name: str, interval: float) -> Iterator[dict[str, Any]]:
    """Yield an event with the statistics every `interval` seconds and one whenever memory ran out, until the container ends.

    Raises NotFound, Conflict, Unsupported.
    """
    found, group = _alive(place.directory_of(root, name), "created", "running", "paused")
    try:
        pidfd = pidfds.open_pidfd(found.pid, found.started)
    except ProcessLookupError:
        raise Conflict("container not running") from None
    try:
        watch = group.watch_oom()
    except Unsupported:
        watch = None  # the statistics do without
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if watch:
        poll.register(watch.fd, watch.events)
    due = time.monotonic()
    try:
        while True:
            ready = dict(poll.poll(max(0, int(min((due - time.monotonic()) * 1000, _LONGEST_WAIT)) + 1)))
            if watch and watch.fd in ready:
                for _ in range(watch.seen()):
                    yield {"type": "oom", "id": name}
            if pidfd in ready:
                return
            if time.monotonic() >= due:
                due += interval
                yield {"type": "stats", "id": name, "data": group.stats()}
    except CrateError:
        if not select.select([pidfd], [], [], 0)[0]:
            raise
    finally:
        os.close(pidfd)
        if watch:
            watch.close()
