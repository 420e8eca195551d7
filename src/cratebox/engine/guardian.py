"""What is above a supervisor: a process of a few kilobytes that becomes the next supervisor where this one is killed.

    guardian  (a subreaper: whoever below it loses its parent becomes its child)
      └── supervisor
            └── the container's first process

Where the supervisor is killed, the container's process becomes a child of the guardian, which executes the interpreter: with
the same pid, still the parent, and with what it has in custody. takeover.py goes on from there. Where the guardian is killed,
the supervisor divides again: it becomes the guardian, and its child goes on as the supervisor.

A container without networks whose start is attended has none for its first tenth of a second, since most of those are over by
then, and the client tells its user where the supervisor was killed. The supervisor divides behind that (life.py).
"""

from __future__ import annotations

import os
import time

from cratebox import third_party
from cratebox.linux import guard, process, stub
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from cratebox.engine.custody import Custody
    from cratebox.engine.dialogue import Watch
    from cratebox.paths import Paths

COMMAND = "crate-supervisor"  # what _entry.py is told
WORDS = "2"  # the form of the words behind it, see succession.py
# Of the environment of the command that started the container, what whoever takes over may need; there are secrets in the rest.
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "CRATE_DEBUG",
)


class Ward(Record):
    """What whoever takes over is told: the container `id`, and its descriptors: the lock, held, the read ends of its output,
    the write end of its input. They are -1 where there are none.
    """

    paths: Paths
    id: str
    lock: int
    output: tuple[int, int]
    holds: tuple[int, int, int, int]
    stdin: int

    @property
    def named(self) -> dict[str, int]:
        out_read, out_write, err_read, err_write = self.holds
        holds = {"out-read": out_read, "out-write": out_write, "err-read": err_read, "err-write": err_write}
        return {"lock": self.lock, "stdout": self.output[0], "stderr": self.output[1], **holds, "stdin": self.stdin}

    @property
    def descriptors(self) -> tuple[int, ...]:
        return tuple(self.named.values())


def ward_of(watch: Watch) -> Ward:
    """Return what of a container whoever takes over its supervision is told."""
    return Ward(watch.container.paths, watch.container.id, watch.lock, watch.output, watch.holds, watch.stdin)


def is_one(pid: int) -> bool:
    """Tell whether that process, a parent, is a guardian, or is just becoming one; and not one who adopts any orphan."""
    return pid > 1 and os.getsid(pid) == os.getsid(0)


def divide(ward: Ward, custody: Custody) -> int:
    """Go on in a child, with this process as its guardian. Return, there, the descriptor for `settle`; -1, in this process,
    where that cannot be.

    It guards from the fork on; but until it is told to settle it does not take the time to become small, and where its child
    ends before that, as it is meant to, it never does.
    """
    try:
        process.set_subreaper(True)
        idle, busy = os.pipe()
        child = os.fork()
    except OSError:
        return -1
    if child == 0:
        os.close(idle)
        return busy
    try:
        kept = tuple(fd for fd in (*custody.descriptors, *ward.descriptors) if fd >= 0)
        _let_go(kept, idle)
        if os.read(idle, 1) or not _has_ended_well(child):
            _guard(child, kept, ward, custody)
        os._exit(0)
    finally:
        os._exit(126)


def settle(busy: int) -> None:
    """Let the guardian become what it is, once its child is going to stay."""
    if busy >= 0:
        try:
            os.write(busy, b"S")
        except OSError:
            pass  # it was killed
        os.close(busy)


def _let_go(kept: tuple[int, ...], idle: int) -> None:
    """What is not kept is the child's alone: whoever is at the other end of a pipe, or of the dialogue, waits for its end."""
    let_go_of_standard_streams(kept)
    process.close_from(3, (idle, *kept))
    os.chdir("/")


def _has_ended_well(child: int) -> bool:
    """Wait until that child has ended, and tell whether it was by itself.
    It is not reaped: the program that guards asks again.
    """
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return ended is not None and ended.si_code == os.CLD_EXITED


def _guard(child: int, kept: tuple[int, ...], ward: Ward, custody: Custody) -> NoReturn:
    for fd in kept:
        os.set_inheritable(fd, True)
    guard.execute(_program(custody), child, successor(ward, custody), environment())


def _program(custody: Custody) -> int:
    """Return a descriptor of the program that guards. Where the machine has no file or memory left it has to wait for some."""
    while True:
        try:
            return stub.sealed(guard.build(custody.kept.fileno()))
        except OSError:
            time.sleep(1)


def let_go_of_standard_streams(ours: Sequence[int]) -> None:
    """What the client was given as standard streams is not ours to hold: a pipe's reader waits for its end."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in {0, 1, 2}.difference(ours):
        os.dup2(null, number)
    os.close(null)


def environment() -> list[str]:
    """Return the environment of whoever takes over, as execve(2) takes it."""
    return [f"{name}={os.environ[name]}" for name in _KEPT if name in os.environ]


def successor(ward: Ward, custody: Custody, more: Mapping[str, int] = {}) -> list[str]:
    """Return the words of the program that takes over, with `more` numbers for it: see succession.py."""
    where = (ward.paths.root, ward.paths.state, ward.paths.config, ward.id)
    ours, kept = custody.descriptors
    numbers = {"ours": ours, "kept": kept, **ward.named, **more}
    return [*third_party.program(COMMAND), WORDS, *where, *(f"{name}={number}" for name, number in numbers.items())]
