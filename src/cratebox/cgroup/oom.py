"""Being told when the kernel kills a process of a cgroup for want of memory.

v1: an eventfd, named in cgroup.event_control (cgroup-v1/memory.rst, OOM Control). v2: memory.events, which poll(2) reports as
changed by POLLPRI (cgroup-v2.rst, Mandatory conventions; kernfs).

    watch = cgroup.watch_oom()
    poll.register(watch.fd, watch.events)     # also wakes when the cgroup goes
    ... watch.seen()                          # how many since the last time; never waits
"""

from __future__ import annotations

import os

from cratebox.cgroup import tree
from cratebox.errors import NotFound, RuntimeFailure, Unsupported

_POLLIN, _POLLPRI = 1, 2
_EVENTFD_FLAGS = os.EFD_CLOEXEC | os.EFD_NONBLOCK


class OOMWatch:
    """`fd` is to be polled for `events`. Whoever made it closes it."""

    fd = -1
    events = 0

    def seen(self) -> int:
        """Return how many processes were killed since the last call (v1: how often).
        Raises nothing: 0 for a cgroup that is gone.
        """
        raise NotImplementedError

    def killed(self) -> int:
        """Return how many processes were killed since the cgroup was made, also while nobody watched.
        Raises nothing, as `seen`.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class _EventFD(OOMWatch):
    events = _POLLIN

    def __init__(self, fd: int, directory: str) -> None:
        self.fd = fd
        self.directory = directory

    def seen(self) -> int:
        try:
            count = os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0
        # Removing the cgroup writes to it as well.
        return count if os.path.exists(self.directory + "/cgroup.event_control") else 0

    def killed(self) -> int:
        try:
            with open(self.directory + "/memory.oom_control", encoding="ascii") as file:
                return _count(file.read())
        except OSError:
            return 0


class _Events(OOMWatch):
    events = _POLLPRI

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._before = self.killed()

    def seen(self) -> int:
        killed = self.killed()
        fresh, self._before = max(killed - self._before, 0), max(killed, self._before)
        return fresh

    def killed(self) -> int:
        """Reading is also what makes poll(2) wait again."""
        try:
            return _count(os.pread(self.fd, 4096, 0).decode())
        except OSError:
            return 0


def _count(text: str) -> int:
    """Return the kernel's oom_kill, of memory.oom_control (v1) and memory.events (v2)."""
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))


def watch_v1(directory: str) -> OOMWatch:
    """Watch the cgroup `directory` of the memory hierarchy. Raises NotFound, RuntimeFailure."""
    fd = os.eventfd(0, _EVENTFD_FLAGS)
    try:
        control = os.open(directory + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            tree.write(directory, "cgroup.event_control", f"{fd} {control}")
        finally:
            os.close(control)
    except OSError as error:
        os.close(fd)
        if isinstance(error, FileNotFoundError):
            raise NotFound(f"the cgroup {directory} is gone") from None
        raise RuntimeFailure(f"cannot watch the memory of {directory}: {error.strerror}") from None
    return _EventFD(fd, directory)


def watch_v2(directory: str) -> OOMWatch:
    """Watch the cgroup `directory`. Raises NotFound, Unsupported where the memory controller is not there."""
    try:
        return _Events(os.open(directory + "/memory.events", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if not os.path.isdir(directory):
            raise NotFound(f"the cgroup {directory} is gone") from None
        raise Unsupported(
            f"cannot watch the memory of {directory}: {error.strerror}", "it takes the memory controller"
        ) from None
