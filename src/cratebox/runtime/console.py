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


def stay(pidfd: int, master: int, before: Any) -> None:
    """Wait for the end of the process of `pidfd`, forwarding signals; copy to and from the terminal `master`, unless -1.

    `before` is what `hold_signals` returned: signals are let in here. Our own terminal is restored whatever happens.
    """
    wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers: dict[int, Any] = {}
    old, saved = -1, None
    try:
        old = _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (*_FORWARDED, _signal.SIGWINCH):
            # A handler that does nothing: the wakeup descriptor brings the signal's number into the loop.
            handlers[number] = _signal.signal(number, lambda *_: None)
        release_signals(before)
        if master >= 0:
            saved = _raw_mode()
            _pass_size(master)
        _Copying(pidfd, wake, master).run()
    finally:
        _restore_mode(saved)
        _signal.set_wakeup_fd(old)
        for number, handler in handlers.items():
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


def _restore_mode(saved: Any) -> None:
    if saved is None:
        return
    import termios

    try:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
    except termios.error:
        pass  # it was hung up


def _pass_size(master: int) -> None:
    try:
        tty.set_size(master, *tty.size(0))
    except OSError:
        pass  # we have no terminal, or the container's is closed


class _Copying:
    """The loop between the container's terminal, if it has one that is ours, our standard streams, and signals."""

    def __init__(self, pidfd: int, wake: int, master: int) -> None:
        self.pidfd = pidfd
        self.wake = wake
        self.master = master  # -1: none, or closed
        self.pending = b""  # typed, and not taken by the container yet
        self.typing = master >= 0  # our standard input has not ended
        self.printing = True  # somebody reads our standard output

    def run(self) -> None:
        """Return when the process of `pidfd` has ended and what it wrote is printed."""
        if self.master >= 0:
            os.set_blocking(self.master, False)
        while True:
            ready = dict(self._poll().poll())
            if self.wake in ready:
                _forward(os.read(self.wake, 64), self.pidfd, self.master)
            if 0 in ready:
                self._read_typed()
            if self.master in ready:
                self._write_typed()
                self._print()
            if self.pidfd in ready:
                while self.master >= 0 and self._print():
                    pass
                return

    def _poll(self) -> select.poll:
        """What is waited for changes from turn to turn: no more is read than the container has taken."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        if self.master >= 0:
            poll.register(self.master, select.POLLIN | (select.POLLOUT if self.pending else 0))
            if self.typing and not self.pending:
                poll.register(0, select.POLLIN)
        return poll

    def _read_typed(self) -> None:
        try:
            self.pending = os.read(0, 4096)
        except BlockingIOError:
            return
        except OSError:  # EIO: our terminal was hung up, or is another job's
            self.pending = b""
        self.typing = bool(self.pending)

    def _write_typed(self) -> None:
        try:
            self.pending = self.pending[os.write(self.master, self.pending) :] if self.pending else b""
        except BlockingIOError:
            pass
        except OSError:
            self.pending = b""

    def _print(self) -> bool:
        """Print what the container has written; False where there is nothing now."""
        try:
            data = os.read(self.master, 65536)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the other side open
            data = b""
        if not data:
            self.master = -1
        elif self.printing:
            self.printing = _printed(data)
        return bool(data)


def _printed(data: bytes) -> bool:
    """Write `data` to our standard output, however long that takes; False where nobody reads it any more.

    Its end is no reason to end the container, which would wait for ever on a terminal that nobody empties.
    """
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # somebody else has made it so: it is theirs as well
            poll = select.poll()
            poll.register(1, select.POLLOUT)
            poll.poll()
        except OSError:
            return False
    return True


def _forward(numbers: bytes, pidfd: int, master: int) -> None:
    for number in numbers:
        if number == _signal.SIGWINCH:
            _pass_size(master)
            continue
        try:
            process.send_signal(pidfd, number)
        except OSError:
            pass  # it has just ended
