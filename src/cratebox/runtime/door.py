"""How an ordinary user enters a container that was created and waits at its gate.

Its first process is not dumpable until it executes its program, so that nobody in the container can look into it, and with that
not even its owner can without privilege (ptrace(2), "Ptrace access mode checking"). So it hands its namespaces out by itself:
it listens at ROOT/ID/door, in a directory that is its owner's alone, and sends whoever connects a descriptor of each.

    exec.py                      init.py, at the gate
    -------                      --------------------
    connects ------------------>
             <------------------ the kinds of its namespaces + a descriptor of each

Who joins them needs the rights over the user namespace that its owner has, whoever sent the descriptors.
"""

from __future__ import annotations

import _socket
import os
import select

from cratebox.linux import const, fdpass
from cratebox.linux.namespaces import KINDS

NAME = "door"
_WAITING = 16  # connections that are not accepted yet
_MOST = 16  # descriptors in a message
_MILLISECONDS = 10_000
_ETIMEDOUT, _EPROTO = 110, 71


def make(directory: str) -> int:
    """Make the door of the container whose state is in `directory`; return the socket that listens there. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        _at(directory, sock.bind)
        sock.listen(_WAITING)
    except BaseException:
        sock.close()
        raise
    return sock.detach()


def _at(directory: str, act: object) -> None:
    """Call bind or connect with the door's address: through a descriptor, for a path in an address has at most 107 bytes."""
    where = os.open(directory, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{where}/{NAME}")  # type: ignore[operator]
    finally:
        os.close(where)


def open_own() -> dict[str, int]:
    """Return descriptors of the namespaces of this process, by kind, while /proc is the host's. Raises OSError."""
    found = {}
    for kind in KINDS:
        try:
            found[kind] = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a kernel without this kind
    return found


def answer_until(gate: int, door: int, namespaces: dict[str, int]) -> None:
    """Send `namespaces` to whoever comes to the `door` until there is something to read from the `gate`; close all but that."""
    listening = _socket.socket(fileno=door)
    listening.setblocking(False)
    poll = select.poll()
    poll.register(gate, select.POLLIN)
    poll.register(door, select.POLLIN)
    while gate not in (ready := dict(poll.poll())):
        if door in ready:
            _answer(listening, namespaces)
    listening.close()
    for fd in namespaces.values():
        os.close(fd)


def _answer(listening: _socket.socket, namespaces: dict[str, int]) -> None:
    try:
        sock = _socket.socket(fileno=listening._accept()[0])  # type: ignore[attr-defined]  # noqa: SLF001  what the module socket calls too
    except OSError:
        return  # whoever came has gone
    try:
        fdpass.send(sock, "\0".join(namespaces).encode(), tuple(namespaces.values()))
    except OSError:
        pass  # as above
    sock.close()


def ask(directory: str) -> dict[str, int]:
    """Return descriptors of the namespaces of the container whose state is in `directory`, by kind.

    Raises FileNotFoundError where there is no door, OSError where nobody answers any more.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        _at(directory, sock.connect)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(_MILLISECONDS):
            raise OSError(_ETIMEDOUT, os.strerror(_ETIMEDOUT))
        message, fds = fdpass.receive(sock, most_fds=_MOST)
    finally:
        sock.close()
    kinds = message.decode(errors="replace").split("\0")
    if len(kinds) != len(fds) or not KINDS.keys() >= set(kinds):
        for fd in fds:
            os.close(fd)
        raise OSError(_EPROTO, os.strerror(_EPROTO))
    return dict(zip(kinds, fds, strict=True))
