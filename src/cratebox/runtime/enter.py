"""The child side of exec: into a container that is there already; program.py goes on from there.

    exec.py                  the joiner                     the process
    -------                  ----------                     -----------
    clone -----------------> non-dumpable, then into the
                             cgroup and the namespaces
                             clone (as a child of exec) ---> in the PID namespace
             <-------------- JOINED + its pid and a pidfd
                             exits
             <--------------------------------------------- CONSOLE + the terminal's master, if there is one
             <--------------------------------------------- READY
    GO ---------------------------------------------------> filter of system calls, execve
             <--------------------------------------------- the end of the stream, or FAILED, as in sync.py

Two processes, since a PID namespace is joined by one's children alone (pid_namespaces(7)). Everything used here is imported
before the first is made: behind setns(2) an import would run the container's files.
"""

from __future__ import annotations

import os
import struct

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, fdpass, namespaces, process
from cratebox.record import Record
from cratebox.runtime import devices, program, sync, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ENOENT, _ESRCH, _EAGAIN, _ENOMEM, _ENODEV = 2, 3, 11, 12, 19
_ENDED = "cannot enter the container: container not running"


class EnterOrder(Record):
    """What the joiner is told by its parent about the way in, and in `program` about what it becomes."""

    program: program.ProgramOrder
    target: int  # a pidfd of the container's process
    kinds: int  # the namespaces to join, as CLONE_NEW* flags
    paths: tuple[tuple[int, int], ...]  # these as descriptor and flag, in order, where `target` may not be asked for them
    join_cgroup: Callable[[], None]


def main(order: EnterOrder) -> None:
    """Become a process of the container; never returns. Runs in the child of clone(2)."""
    program.guard(order.program, lambda: _join(order))


def _join(order: EnterOrder) -> None:
    program.set_oom_score(order.program.process)
    process.set_dumpable(False)  # before setns: whoever looked into us would find the host's files
    _enter_cgroup(order)
    try:
        for fd, kinds in order.paths or ((order.target, order.kinds),):
            namespaces.setns(fd, kinds)
            if kinds & const.CLONE_NEWUSER:
                process.set_dumpable(False)  # the rights there may have changed it back
    except OSError as error:
        if error.errno == _ESRCH:
            raise RuntimeFailure(_ENDED) from None
        raise RuntimeFailure(f"cannot enter the container's namespaces: {error.strerror}") from None
    if order.kinds & const.CLONE_NEWUSER:
        program.become_root()
        process.set_dumpable(False)  # changing IDs may have changed it back
    try:
        pid, pidfd = namespaces.clone(const.CLONE_PARENT)
    except OSError as error:
        if error.errno == _ENOMEM and order.kinds & const.CLONE_NEWPID:  # fork(2): its first process has ended
            raise RuntimeFailure(_ENDED, "where it runs: memory has run out, see dmesg") from None
        hint = "pids.limit of its resources may be reached, or a limit of its user's" if error.errno == _EAGAIN else None
        raise RuntimeFailure(f"cannot make another process in the container: {error.strerror}", hint) from None
    if pid == 0:
        program.guard(order.program, lambda: _become(order.program))
    fdpass.send(order.program.sock, sync.JOINED + struct.pack("=i", pid), (pidfd,))
    os._exit(0)


def _enter_cgroup(order: EnterOrder) -> None:
    try:
        order.join_cgroup()
    except OSError as error:
        if error.errno in {_ENOENT, _ENODEV}:  # removed with its last process
            raise RuntimeFailure(_ENDED) from None
        raise RuntimeFailure(f"cannot enter the container's cgroup: {error.strerror}") from None


def _become(order: program.ProgramOrder) -> None:
    program.leave_caller(order)
    root = os.open("/", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    own_null = devices.open_own_null(root)
    console = terminal.make(order.sock, root, order.process, bind=False) if order.process.terminal else -1
    privileges, path = program.prepare(order, console, own_null)
    program.load_listening_filter(order, privileges)
    fdpass.send(order.sock, sync.READY)
    if os.read(order.sock.fileno(), 1) != sync.GO:
        os._exit(0)  # exec was killed
    program.execute(order, privileges, path)
