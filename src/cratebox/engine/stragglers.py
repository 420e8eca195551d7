"""What stays of a container that shares a PID namespace: no end of its first process takes the others along.

They are ended with its cgroup. Without one (an ordinary user on cgroup v1) they are the guardian's children: it is the
subreaper above the container (guardian.py), so whoever loses its parent becomes its child. In a PID namespace that is another
container's they become that one's instead, and end with it. What a supervisor has left to serve all containers (the resolver of
names) is a child of the guardian as well, but not in a user namespace of a container's, which nobody ever comes out of.
"""

from __future__ import annotations

import os

from cratebox.linux import process
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.base import Cgroup

_SIGKILL = 9
_MOST_ROUNDS = 100  # what is killed leaves children, which come next


def end(cgroup: Cgroup | None) -> None:
    """Send SIGKILL to the processes in the cgroup, or to the other children of the caller's parent, the guardian.
    Raises OSError.
    """
    if cgroup is not None and cgroup.directories:
        cgroup.kill()
        return
    guardian = os.getppid()
    if not _is_guardian(guardian):
        return
    for _ in range(_MOST_ROUNDS):
        living = [pid for pid in process.children(guardian) if process.start_time(pid) and not _is_of_crate(pid)]
        if not living:
            return
        for pid in living:
            _kill(pid, guardian)


def _is_guardian(pid: int) -> bool:
    """Nobody else's children are ours to kill."""
    try:
        return read_text(f"/proc/{pid}/comm").strip() == "crate-guardian"
    except OSError:
        return False


def _is_of_crate(pid: int) -> bool:
    """Tell whether a process is in our own user namespace."""
    try:
        return os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")
    except OSError:
        return False


def _kill(pid: int, parent: int) -> None:
    try:
        pidfd = process.open_pidfd(pid)
    except OSError:
        return
    try:
        if process.parent(pid) == parent:  # the number is still that of the process we hold
            process.send_signal(pidfd, _SIGKILL)
    except OSError:
        pass  # it has ended
    finally:
        os.close(pidfd)
