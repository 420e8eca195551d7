"""A container that has lost its supervisor and its guardian at once gets new ones from the next command that looks at it.

Such a container is told by its process, which lives, and its lock, which nobody has. The command takes the lock and a pidfd of
the process, and leaves a process behind that executes takeover.py, as a guardian would. What that finds:

    exit code        from the kernel, by the pidfd (vigil.py): the process is a child of init by now
    output           the pipes, opened anew through the descriptors that the container itself has of them. What it wrote meanwhile is in them;
                     but a program that wrote when nobody had the other end got SIGPIPE, as it would in a shell
    input            likewise, for whoever attaches later
    terminal         gone with its master: the container was hung up
    what was read and not yet logged: gone; it is the beginning of a line at most
"""

from __future__ import annotations

import os
import stat

from cratebox.cgroup import base as cgroups
from cratebox.engine import custody, guardian, records, streams, witness
from cratebox.engine.guardian import Ward
from cratebox.errors import CrateError
from cratebox.linux import const, fdpass, namespaces, process
from cratebox.runtime import state as runtime_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

    from cratebox.engine.custody import Custody
    from cratebox.engine.witness import Witness
    from cratebox.paths import Paths
    from cratebox.runtime.state import State


def adopt(paths: Paths, identity: str, seen: Witness | None = None) -> bool:
    """Give a container that has been left alone a supervisor; tell whether that was done.
    Raises nothing: it would go on as it is.

    `seen` is the process, from whoever has held it since it was alive: it may have ended by now.
    """
    found = seen
    try:
        found = seen or witness.of(paths, identity)
        if found is None or not _is_there(paths, identity, found):
            return False
        lock = records.try_lock(records.directory(paths, identity))
        if lock is None:
            return False
        try:
            if not _is_there(paths, identity, found):  # somebody has adopted it, and ended it, meanwhile
                return False
            _leave_behind(paths, identity, lock, found)
        finally:
            os.close(lock)
    except (CrateError, OSError):
        return False
    finally:
        if found and found is not seen:
            found.close()
    return True


def _is_there(paths: Paths, identity: str, seen: Witness) -> bool:
    """Tell whether nobody has written down the end of that process, or begun another."""
    return seen.of(runtime_state.load(f"{paths.running}/{identity}"))


def _leave_behind(paths: Paths, identity: str, lock: int, seen: Witness) -> None:
    """Leave the process that becomes the guardian, a child of nobody here. Raises OSError."""
    pipes = _pipes(paths, identity, seen.state)
    kept = custody.new()
    try:
        kept.hold({"pidfd": seen.pidfd})
        middle = os.fork()
        if middle == 0:
            try:
                os.setsid()
                if os.fork() == 0:
                    _become(Ward(paths, identity, lock, pipes.output, pipes.holds, pipes.stdin), kept)
            finally:
                os._exit(0)
        os.waitpid(middle, 0)
    finally:
        streams.close(pipes.stdin, *pipes.output, *pipes.holds, *kept.descriptors)
        kept.ours.detach()
        kept.kept.detach()


def _become(ward: Ward, kept: Custody) -> NoReturn:
    fds = tuple(fd for fd in (*kept.descriptors, *ward.descriptors) if fd >= 0)
    guardian.let_go_of_standard_streams(fds)
    os.chdir("/")
    process.close_on_exec_from(3)
    for fd in fds:
        os.set_inheritable(fd, True)
    words = guardian.successor(ward, kept)
    os.execve(words[0], words, dict(entry.split("=", 1) for entry in guardian.environment()))  # noqa: S606  no shell is what is wanted


# Its standard streams


def _pipes(paths: Paths, identity: str, state: State) -> streams.Streams:
    """Return our ends of its standard streams; those that nobody has any more are new, for its next run. Raises OSError."""
    container = records.load(paths, identity)
    if container.config.tty:
        return streams.of(container.config, open_to_write=False)
    inodes = (*state.pipes, 0, 0, 0)[:3]
    fresh = streams.of(container.config, open_to_write=inodes[0] > 0)
    streams.close(*fresh.stdio)
    wanted = {inode: flags for inode, flags in zip(inodes, (os.O_WRONLY, os.O_RDONLY, os.O_RDONLY), strict=True) if inode}
    found = _opened_again(state, wanted)
    if len(found) < len(wanted) and os.geteuid():
        found |= _opened_inside(state, {inode: flags for inode, flags in wanted.items() if inode not in found})
    stdin, stdout, stderr = (
        _either(found.get(inode, -1), instead) for inode, instead in zip(inodes, (fresh.stdin, *fresh.output), strict=True)
    )
    return fresh.replace(stdin=stdin, output=(stdout, stderr))


def _either(found: int, instead: int) -> int:
    if found < 0:
        return instead
    streams.close(instead)
    return found


def _opened_inside(state: State, wanted: dict[int, int]) -> dict[int, int]:
    """Do the same in the container's user namespace: the descriptors of a process of another user are for him and for root
    there.
    """
    try:
        pidfd = process.open_pidfd(state.pid, state.started)
    except ProcessLookupError:
        return {}
    ours, theirs = fdpass.pair()
    pid = os.fork()
    if pid == 0:
        try:
            process.set_dumpable(False)
            namespaces.setns(pidfd, const.CLONE_NEWUSER)
            for inode, fd in _opened_again(state, wanted).items():
                fdpass.send(theirs, str(inode).encode(), (fd,))
        finally:
            os._exit(0)
    os.close(pidfd)
    theirs.close()
    found: dict[int, int] = {}
    while (answer := fdpass.receive(ours))[0]:
        found[int(answer[0])] = answer[1][0]
    ours.close()
    os.waitpid(pid, 0)
    return found


def _opened_again(state: State, wanted: dict[int, int]) -> dict[int, int]:
    """Return descriptors of those pipes, by inode, opened with the flags that are wanted, as the container's processes have
    them open: the first one, then the others.
    """
    found: dict[int, int] = {}
    for pid in _members(state):
        for path in _descriptors(pid):
            if len(found) == len(wanted):
                return found
            _open(path, wanted, found)
    return found


def _open(path: str, wanted: dict[int, int], found: dict[int, int]) -> None:
    """Nothing of the container's is opened but a pipe: looked at, then opened without effect, then looked at again."""
    try:
        kind, _, number = os.readlink(path).rstrip("]").partition(":[")
        if kind != "pipe" or int(number) not in wanted.keys() - found.keys():
            return
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return
    try:
        info = os.fstat(fd)
        if stat.S_ISFIFO(info.st_mode) and info.st_ino in wanted.keys() - found.keys():
            opened = os.open(f"/proc/self/fd/{fd}", wanted[info.st_ino] | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(opened, True)
            found[info.st_ino] = opened
    except OSError:
        pass  # it is another user's, who started it with an older crate
    finally:
        os.close(fd)


def _members(state: State) -> Iterator[int]:
    yield state.pid
    try:
        group = cgroups.from_paths(state.cgroup)
        yield from group.pids()
    except (CrateError, OSError):
        return


def _descriptors(pid: int) -> Iterable[str]:
    try:
        return [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return ()
