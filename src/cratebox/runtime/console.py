"""The caller's side of a container's terminal: handing its master over, or copying between it and our own terminal.

The container's side, the making of the terminal in its own devpts, is init's.
"""

from __future__ import annotations

import _signal
import os
import select

from cratebox.errors import RuntimeFailure
from cratebox.linux import fdpass, process, tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Not KILL and STOP, those of faults and of job control, CHLD, PIPE, URG: they are about this process itself.
_FORWARDED = tuple(
    number for number in range(1, 65) if number not in {4, 5, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 28, 31, 32, 33}
)


def send(path: str, master: int) -> None:
    """Send the master of a terminal to whoever listens at the unix socket `path`, as runc does. Raises RuntimeFailure."""
    import _socket

    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        try:
            sock.connect(path)
            fdpass.send(sock, b"/dev/ptmx", (master,))  # runc's name for it; what counts is the descriptor
        finally:
            sock.close()
    except OSError as error:
        raise RuntimeFailure(f"cannot send the terminal to {path}: {error.strerror or error}") from None


def hold_signals() -> Any:
    """Hold back what `stay` will forward; return what `release_signals` takes."""
    return _signal.pthread_sigmask(_signal.SIG_BLOCK, _FORWARDED)


def release_signals(before: Any) -> None:
    """Let signals in again as they were before `hold_signals`."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def stay(pidfd: int, master: int, before: Any) -> None:
    """Wait for the end of the process of `pidfd`, forwarding signals; copy to and from the terminal `master`, unless -1.

    `before` is what `hold_signals` returned: signals are let in here. Our own terminal is restored whatever happens.
    """
    wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old = _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    numbers = (*_FORWARDED, _signal.SIGWINCH)
    # Handlers that do nothing: the wakeup descriptor brings the signal's number into the loop.
    handlers = [_signal.signal(number, lambda *_: None) for number in numbers]
    saved = None
    try:
        release_signals(before)
        if master >= 0:
            saved = _raw_mode()
            _pass_size(master)
        _copy(pidfd, wake, master)
    finally:
        if saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        _signal.set_wakeup_fd(old)
        for number, handler in zip(numbers, handlers, strict=True):
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)
        os.close(wake)
        os.close(wake_write)


def _raw_mode() -> Any:
    """Let every key reach the container; return the terminal's settings as they were, None where we have no terminal."""
    import termios
    import tty as terminal

    try:
        saved = termios.tcgetattr(0)
        terminal.setraw(0)
    except termios.error:
        return None
    return saved


def _pass_size(master: int) -> None:
    try:
        tty.set_size(master, *tty.size(0))
    except OSError:
        pass  # we have no terminal, or the container's is closed


def _copy(pidfd: int, wake: int, master: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    pending = b""  # typed, and not taken by the container yet
    if master >= 0:
        os.set_blocking(master, False)
        poll.register(0, select.POLLIN)
    while True:
        if master >= 0:
            poll.register(master, select.POLLIN | (select.POLLOUT if pending else 0))
        ready = dict(poll.poll())
        if wake in ready:
            _forward(os.read(wake, 64), pidfd, master)
        if 0 in ready and not pending:
            pending = os.read(0, 4096)
            if not pending:
                poll.unregister(0)
        if master in ready:
            pending = _written(master, pending)
            if not _printed(master):
                poll.unregister(master)
                master = -1
        if pidfd in ready:
            while master >= 0 and _printed(master, once=True):
                pass
            return


def _forward(numbers: bytes, pidfd: int, master: int) -> None:
    for number in numbers:
        if number == _signal.SIGWINCH:
            _pass_size(master)
            continue
        try:
            process.send_signal(pidfd, number)
        except OSError:
            pass  # it has just ended


def _written(master: int, data: bytes) -> bytes:
    """Write what the terminal takes of `data`; return the rest."""
    try:
        return data[os.write(master, data) :] if data else data
    except BlockingIOError:
        return data
    except OSError:
        return b""


def _printed(master: int, once: bool = False) -> bool:
    """Print what the container has written; False at its end. With `once`, False also where there is nothing now."""
    try:
        data = os.read(master, 65536)
    except BlockingIOError:
        return not once
    except OSError:  # EIO: nobody has the other side open
        return False
    while data:
        data = data[os.write(1, data) :]
    return True
