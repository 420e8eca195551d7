"""The client's side of a running container: its terminal or standard input, its signals, its exit code.

Output is not seen here: the supervisor writes it to the client's own descriptors.
"""

from __future__ import annotations

import _signal
import os
import select

from cratebox.engine import dialogue
from cratebox.errors import RuntimeFailure
from cratebox.linux import fdpass, process, tty
from cratebox.record import Record
from cratebox.runtime.detach_keys import DetachKeys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

DETACH_KEYS = b"\x10\x11"  # ctrl-p ctrl-q, as Docker's
# Not SIGCHLD, SIGPIPE, SIGURG, SIGWINCH, the ones of faults and of job control: those are about the client itself.
FORWARDED = tuple(
    number for number in range(1, 65) if number not in {4, 5, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 28, 31, 32, 33}
)
_PIPE_CLOSED = 141  # 128 + SIGPIPE
_HUNG_UP = 129  # 128 + SIGHUP
_IMPATIENT = 3  # as many SIGINT or SIGTERM as end the client, where the container does not listen


class Attachment(Record):
    """How the client stays: `stdin` is the write end of the container's standard input, or -1."""

    sock: _socket.socket
    stdin: int = -1
    tty: bool = False
    interactive: bool = False
    forward_signals: bool = True
    detach_keys: bytes = DETACH_KEYS
    mask: Any = ()  # the signals that the caller had blocked
    late: bool = False  # it runs already: what is on its screen was drawn for another


def block_signals() -> Any:
    """Hold signals back until `stay` takes them: between fork and there they would end the client, not the container."""
    return _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED)


def restore_signals(before: Any) -> None:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def wait_started(sock: _socket.socket) -> int:
    """Wait until the container's program runs; return its terminal's master or the write end of its standard input, as far as
    there is one to be given, else -1. Raises what kept it from starting.
    """
    message, fds = fdpass.receive(sock)
    if message[:1] == dialogue.STARTED:
        return fds[0] if fds else -1
    if message[:1] == dialogue.ERROR:
        raise dialogue.unpack_error(message)
    raise RuntimeFailure("the container's supervisor died", "see dmesg: it may have been out of memory")


def stay(how: Attachment) -> int | None:
    """Stay until the container ends; return its exit code, None where the user detached, or 129 where his terminal was hung up.

    Raises RuntimeFailure, and StorageError where its output could not be written.
    """
    return _Client(how).run()


class _Client:
    def __init__(self, how: Attachment) -> None:
        self.how = how
        self.master = -1
        self.stdin = how.stdin
        self.saved: Any = None
        self.keys = DetachKeys(how.detach_keys)
        self.interrupts = 0
        self.unwritten = b""  # the first of our descriptors that could not be written to, and why
        self.hung_up = False

    def run(self) -> int | None:
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = self._take_signals(wake_write)
        try:
            if self.how.tty and self.how.interactive:
                self.saved = tty.enter_raw_mode(0)  # before the program can say or be told anything
            given = wait_started(self.how.sock)
            if self.how.tty:
                self.master = given
                self._pass_size(redraw=self.how.late)
            elif given >= 0:
                self.stdin = given
            return self._loop(wake)
        finally:
            tty.restore_mode(0, self.saved)
            self._give_signals_back(before)
            for fd in (wake, wake_write, self.master, self.stdin):
                if fd >= 0:
                    os.close(fd)

    def _take_signals(self, wake_write: int) -> dict[int, Any]:
        """Handlers that do nothing: the wakeup descriptor brings the signal's number into the poll loop."""
        before: dict[int, Any] = {}
        wanted = (*FORWARDED, _signal.SIGWINCH) if self.how.forward_signals else (_signal.SIGWINCH,)
        if not process.is_main_thread():
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self.how.mask)
            return before
        self.wakeup = _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in wanted:
            before[number] = _signal.signal(number, lambda *_: None)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self.how.mask)
        return before

    def _give_signals_back(self, before: dict[int, Any]) -> None:
        if before:
            _signal.set_wakeup_fd(self.wakeup)
        for number, handler in before.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)

    def _pass_size(self, redraw: bool = False) -> None:
        """Give the container's terminal the size of the user's; `redraw`: a program that draws is to hear of it in any case."""
        try:
            rows, columns = tty.size(0)
            if redraw:
                tty.set_size(self.master, rows + 1, columns)
            tty.set_size(self.master, rows, columns)
        except OSError:
            pass  # no terminal of our own, or the container's is closed

    def _loop(self, wake: int) -> int | None:
        poll = select.poll()
        poll.register(self.how.sock.fileno(), select.POLLIN)
        poll.register(wake, select.POLLIN)
        self.poll, self.watched, self.pending = poll, False, b""
        self.target = self.master if self.how.tty else self.stdin
        if self.how.interactive and self.target >= 0:
            os.set_blocking(self.target, False)
            poll.register(0, select.POLLIN)
        while True:
            for fd, _events in poll.poll():
                if fd == wake:
                    if self._signals(os.read(wake, 512)):
                        return 130
                elif fd == self.target and self.watched:
                    self._pass_on()
                elif fd == 0:
                    if self._input():
                        fdpass.send(self.how.sock, dialogue.DETACH)
                        return _HUNG_UP if self.hung_up else None
                else:
                    code = self._hear()
                    if code is not None:
                        return code

    def _hear(self) -> int | None:
        """Hear what the supervisor says; return the exit code where that was the last word."""
        message, fds = fdpass.receive(self.how.sock)
        for spare in fds:
            os.close(spare)
        if message[:1] == dialogue.EXITED:
            return self._ended(int(message[1:]))
        if message[:1] == dialogue.ERROR:
            raise dialogue.unpack_error(message)
        if message[:1] == dialogue.STARTED:
            return None  # from one who took over, and does not know whether it was said
        if message == dialogue.BROKEN:
            return _PIPE_CLOSED
        if message[:1] == dialogue.UNWRITTEN:
            self.unwritten = self.unwritten or message[1:]
            return None
        raise RuntimeFailure("the container's supervisor died", "crate ps -a tells what became of the container")

    def _ended(self, code: int) -> int:
        if not self.unwritten:
            return code
        from cratebox.engine.unwritten import failure

        fd, errno = map(int, self.unwritten.split())
        raise failure(fd, errno, code)

    def _signals(self, numbers: bytes) -> bool:
        """Pass signals on; True where the user has asked often enough to be let go."""
        for number in numbers:
            if number == _signal.SIGWINCH:
                if self.master >= 0:
                    self._pass_size()
                continue
            self.interrupts += number in {_signal.SIGINT, _signal.SIGTERM}
            try:
                fdpass.send(self.how.sock, dialogue.SIGNAL + str(number).encode())
            except OSError:
                pass  # it has just ended: the next message says so
        return self.interrupts >= _IMPATIENT

    def _input(self) -> bool:
        """Take what was typed; True where it was the detach keys, or where the terminal was hung up."""
        try:
            data = os.read(0, 32768)
        except OSError:
            data = b""
        if not data:
            self.poll.unregister(0)
            self._end_input()
            self.hung_up = self.how.tty  # a terminal has no end; what nobody sees any more goes on by itself
            return self.hung_up
        data, detached = self.keys.without(data) if self.how.tty else (data, False)
        self.pending = data
        if data:
            self.poll.unregister(0)
            self._pass_on()
        return detached

    def _pass_on(self) -> None:
        """Write what the container takes now; the rest waits, and so does reading more, but signals do not."""
        try:
            self.pending = self.pending[os.write(self.target, self.pending) :]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE: the container does not read any more
            self._watch_target(False)
            self._end_input()
            return
        self._watch_target(bool(self.pending))
        if not self.pending:
            self.poll.register(0, select.POLLIN)

    def _watch_target(self, wanted: bool) -> None:
        if wanted and not self.watched:
            self.poll.register(self.target, select.POLLOUT)
        elif self.watched and not wanted:
            self.poll.unregister(self.target)
        self.watched = wanted

    def _end_input(self) -> None:
        if not self.how.tty and self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = self.target = -1
