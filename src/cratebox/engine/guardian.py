"""What is above a supervisor: a process of a few kilobytes that becomes the next supervisor where this one is killed.

    guardian  (a subreaper: whoever below it loses its parent becomes its child)
      └── supervisor
            └── the container's first process

Where the supervisor is killed, the container's process becomes a child of the guardian, which executes the interpreter: with the
same pid, still the parent, and with what it has in custody. takeover.py goes on from there. Where the guardian is killed,
the supervisor divides again: it becomes the guardian, and its child goes on as the supervisor.
"""

from __future__ import annotations

import os

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

    It guards from the fork on; but until it is told to settle, or its child has ended, it does not take the time to become small.
    """
    try:
        program = stub.sealed(guard.build(custody.kept.fileno()))
        process.set_subreaper(True)
        idle, busy = os.pipe()
        child = os.fork()
    except OSError:
        return -1
    if child == 0:
        os.close(program)
        os.close(idle)
        return busy
    try:
        os.close(busy)
        os.read(idle, 1)
        _guard(program, child, ward, custody)
    finally:
        os._exit(126)


def settle(busy: int) -> None:
    """Let the guardian become what it is, in a moment when this process only waits: on a start both would want a processor."""
    if busy >= 0:
        try:
            os.write(busy, b"S")
        except OSError:
            pass  # it was killed
        os.close(busy)


def _guard(program: int, child: int, ward: Ward, custody: Custody) -> NoReturn:
    kept = tuple(fd for fd in (*custody.descriptors, *ward.descriptors) if fd >= 0)
    let_go_of_standard_streams(kept)
    process.close_from(3, (program, *kept))
    for fd in kept:
        os.set_inheritable(fd, True)
    os.chdir("/")
    guard.execute(program, child, successor(ward, custody), environment())


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
