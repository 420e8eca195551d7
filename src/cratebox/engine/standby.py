"""Where a container's supervisor comes from.

A library forks one from itself. A command has one standing by: the entry script forks it before anything of the engine is
imported, so that its memory is small, and the two halves of crate are imported at the same time, what makes a spec of flags and
an image by the client, what makes a container of a spec by the supervisor (see _entry.py and _bundle.py).
"""

from __future__ import annotations

import os

from cratebox import wire
from cratebox.engine.dialogue import Watch
from cratebox.linux import fdpass

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

_MOST = 160 << 10  # bytes; the kernel's default for one message is 208 KiB (net.core.wmem_default, socket(7))
_waiting: list[_socket.socket] = []  # at most one: the client's end of the dialogue
_forked: list[int] = []  # supervisors of this process, not reaped yet


def offer(sock: _socket.socket) -> None:
    """Take note of a process that stands by at the other end of `sock`."""
    _waiting.append(sock)


def hand_over(watch: Watch) -> _socket.socket:
    """Tell a supervisor to start a container; return the client's end of their dialogue. Its descriptors in `watch` are still
    to be closed here. Raises OSError where there can be no supervisor.
    """
    while _waiting:
        sock = _waiting.pop()
        raw = wire.dumps(watch)
        try:
            if len(raw) < _MOST:
                fdpass.send(sock, raw, _descriptors(watch))
                return sock
        except OSError:
            pass  # it was killed
        sock.close()
    return _fork(watch)


def _descriptors(watch: Watch) -> tuple[int, ...]:
    return tuple(fd for fd in (watch.lock, watch.stdin, watch.wish.stdio[0]) if fd >= 0)


def _fork(watch: Watch) -> _socket.socket:
    from cratebox.engine import supervisor

    _reap_earlier()
    ours, theirs = fdpass.pair()
    try:
        _forked.append(supervisor.fork(watch, theirs, ours))
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours


def _reap_earlier() -> None:
    """A command ends and leaves its supervisor to init; a program that uses the library goes on, and must not keep zombies."""
    for pid in _forked[:]:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _forked.remove(pid)
        except ChildProcessError:
            _forked.remove(pid)


def stand_by(sock: _socket.socket) -> NoReturn:
    """Wait for what the client has to be done, and do it; end with the client where it has nothing."""
    from cratebox.engine import supervisor

    try:
        supervisor.leave_caller()
        raw, fds = fdpass.receive(sock, _MOST)
        if raw:
            supervisor.serve(_received(wire.loads(raw), list(fds)), sock)
    finally:
        os._exit(0)


def _received(watch: Watch, fds: list[int]) -> Watch:
    """Put the descriptors in their places again, by the numbers that they have here."""
    lock, stdin, read = (fds.pop(0) if fd >= 0 else -1 for fd in (watch.lock, watch.stdin, watch.wish.stdio[0]))
    return watch.replace(lock=lock, stdin=stdin, wish=watch.wish.replace(stdio=(read, -1, -1)))
