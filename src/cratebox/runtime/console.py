"""The caller's side of a container's terminal: handing its master over, or copying between it and our own terminal.

The container's side, the making of the terminal in its own devpts, is init's.
"""

from __future__ import annotations

import _signal
import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import fdpass, process, tty
from cratebox.runtime.streams import Streams, pass_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Not KILL and STOP, those of faults and of job control, CHLD, PIPE, URG: they are about this process itself.
_FORWARDED = tuple(
    number for number in range(1, 65) if number not in {4, 5, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 28, 31, 32, 33}
)


def send(path: str, fd: int, name: str = "/dev/ptmx") -> None:
    """Send a descriptor (the master of a terminal) to whoever listens at the unix socket `path`. Raises RuntimeFailure.

    `name` is what runc calls it; what counts is the descriptor.
    """
    import _socket

    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        try:
            sock.connect(path)
            fdpass.send(sock, name.encode(), (fd,))
        finally:
            sock.close()
    except OSError as error:
        raise RuntimeFailure(
            f"cannot send the {'terminal' if name == '/dev/ptmx' else name} to {path}: {error.strerror or error}"
        ) from None


def hold_signals() -> Any:
    """Hold back what `stay` will forward; return what `release_signals` takes."""
    return _signal.pthread_sigmask(_signal.SIG_BLOCK, _FORWARDED)


def release_signals(before: Any) -> None:
    """Let signals in again as they were before `hold_signals`."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def stay(streams: Streams, terminal: int, before: Any) -> bool:
    """Run `streams`, forwarding signals; with `terminal`, unless -1, in raw mode.
    True: the process has ended, False: it was left.

    `before` is what `hold_signals` returned: signals are let in here. Our own terminal is restored whatever happens.
    """
    wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers: dict[int, Any] = {}
    old, saved = -1, None
    try:
        if process.is_main_thread():
            old = _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
            for number in (*_FORWARDED, _signal.SIGWINCH):
                # A handler that does nothing: the wakeup descriptor brings the signal's number into the loop.
                handlers[number] = _signal.signal(number, lambda *_: None)
        release_signals(before)
        if terminal >= 0:
            saved = tty.enter_raw_mode(0)
            pass_size(terminal)
        return streams.run(wake)
    finally:
        tty.restore_mode(0, saved)
        if handlers:
            _signal.set_wakeup_fd(old)
        for number, handler in handlers.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)
        os.close(wake)
        os.close(wake_write)


def stay_at(pidfd: int, master: int, before: Any) -> None:
    """Wait for the end of the process of `pidfd`, forwarding signals; copy to and from the terminal `master`, unless -1."""
    outputs = ((master, 1),) if master >= 0 else ()
    stay(Streams(pidfd, outputs, master, master), master, before)
