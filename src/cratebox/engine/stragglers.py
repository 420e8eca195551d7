"""What stays of a container that shares a PID namespace: no end of its first process takes the others along.

They are ended with its cgroup. Without one (an ordinary user on cgroup v1) they are told by their mount namespace, which every
container has for itself, and which nobody leaves who has no right to mount.
"""

from __future__ import annotations

import os

from cratebox.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.base import Cgroup

_SIGKILL = 9
_MOST_ROUNDS = 100  # a process may fork while it is looked for


def mount_namespace(pid: int) -> str:
    """Return the name of the mount namespace of a process, "" where that cannot be told."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def end(cgroup: Cgroup | None, namespace: str) -> None:
    """Send SIGKILL to the processes in the cgroup, or in the mount namespace of that name. Raises OSError."""
    if cgroup is not None and cgroup.directories:
        cgroup.kill()
        return
    for _ in range(_MOST_ROUNDS):
        if not namespace or not _kill_each(namespace):
            return


def _kill_each(namespace: str) -> int:
    killed = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or mount_namespace(int(name)) != namespace:
            continue
        try:
            pidfd = process.open_pidfd(int(name))
        except OSError:
            continue
        try:
            if mount_namespace(int(name)) == namespace:  # the number is still that of the process we hold
                process.send_signal(pidfd, _SIGKILL)
                killed += 1
        except OSError:
            pass  # it has ended
        finally:
            os.close(pidfd)
    return killed
