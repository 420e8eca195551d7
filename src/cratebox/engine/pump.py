"""The container's output on its way to the log and, while somebody is attached, to his standard output and error.

The supervisor turns this wheel. What is read is logged at once; what the attached side cannot take yet holds the container
back, not the machine's memory: a stream is read again only when what came before has been passed on.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys

from cratebox.engine.logs import LogWriter

_READ = 65536
_FIONREAD = 0x541B  # ioctl_tty(2), pipe(7): how many bytes can be read; the same number on x86-64 and arm64
_TERMINAL_HOLDS = 1 << 18  # bytes; a terminal holds less (tty_buffer.c, n_tty.c)
_PIPE_BUF = 4096  # after POLLOUT that much goes into a pipe without blocking (pipe(7))


class Stream:
    """One output of the container: `source` is read, `sink` (or -1) is where the attached side wants it."""

    def __init__(self, name: str, source: int, sink: int) -> None:
        self.name, self.source, self.sink = name, source, sink
        self.pending = b""
        self.left: int | None = None  # bytes that are still to be read, once nobody of the container's can write more


class Pump:
    """Streams, the log, and the poll(2) set they share with the supervisor's other descriptors.

    `nobody_else`: the log goes with the container, so what the attached side does not read any more, nobody will. Its pipe
    is then closed for the container as well, which ends as it would behind a shell's pipe.
    """

    def __init__(self, streams: list[Stream], log: LogWriter | None, nobody_else: bool = False) -> None:
        self.streams = streams
        self._log = log
        self.poll = select.poll()
        self.log_error = ""
        self.broken = False  # whoever was attached has closed one of his ends
        self._nobody_else = nobody_else
        for stream in streams:
            self.poll.register(stream.source, select.POLLIN)

    @property
    def open(self) -> bool:
        """Whether any stream may still bring something, or has something to pass on."""
        return any(stream.source >= 0 or stream.pending for stream in self.streams)

    def turn(self, fd: int) -> bool:
        """Do what poll(2) reported `fd` ready for; False where it is none of the streams'."""
        for stream in self.streams:
            if fd == stream.source:
                self._read(stream)
                return True
            if fd == stream.sink and stream.pending:
                self._pass_on(stream)
                return True
        return False

    def _read(self, stream: Stream) -> None:
        try:
            data = os.read(stream.source, _READ if stream.left is None else min(_READ, stream.left))
        except BlockingIOError:
            if stream.left is None:  # the client made the terminal non-blocking, and another read was faster
                return
            data = b""
        except OSError:  # EIO: the last process that had the terminal open is gone
            data = b""
        if stream.left is not None:
            stream.left -= len(data)
        if data:
            self._keep(stream.name, data)
        if data and stream.sink >= 0:
            stream.pending = data
            self.poll.unregister(stream.source)
            self._watch(stream)
        elif not data or stream.left == 0:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        if not stream.pending:
            self.poll.unregister(stream.source)
        os.close(stream.source)
        stream.source = -1

    def writers_are_gone(self) -> None:
        """The container's processes have ended: what they wrote to pipes is there by now, and is all that counts.

        A descriptor that one of them gave away would keep the stream open, and somebody else's words coming.
        """
        for stream in self.streams:
            if stream.source >= 0 and stat.S_ISFIFO(os.fstat(stream.source).st_mode):
                stream.left = int.from_bytes(fcntl.ioctl(stream.source, _FIONREAD, bytes(4)), sys.byteorder)
                if not stream.left and not stream.pending:
                    self._end(stream)

    @property
    def waiting(self) -> bool:
        """Whether a source may still say something that is on its way: that of a terminal, whose bytes nobody can count."""
        return any(stream.source >= 0 and stream.left is None for stream in self.streams)

    def wait_no_more(self) -> None:
        """Read no more than what terminals hold by now."""
        for stream in self.streams:
            if stream.source >= 0 and stream.left is None:
                os.set_blocking(stream.source, False)
                stream.left = _TERMINAL_HOLDS
                self._read_on(stream)

    def _keep(self, name: str, data: bytes) -> None:
        """A log that cannot be written (a full disk) must not end the container: what is lost is said once, at the end."""
        if self._log and not self.log_error:
            try:
                self._log.write(name, data)
            except OSError as error:
                self.log_error = f"the log ends early: {error.strerror}"

    def _watch(self, stream: Stream) -> None:
        try:
            self.poll.register(stream.sink, select.POLLOUT)
        except (OSError, ValueError):
            self._drop(stream)
            return
        # A regular file is not pollable in every way, but always ready: poll reports it at once.

    def _pass_on(self, stream: Stream) -> None:
        try:
            written = os.write(stream.sink, stream.pending[:_PIPE_BUF])
        except BrokenPipeError:  # whoever was attached does not listen any more
            self.broken = True
            self._drop(stream)
            if self._nobody_else and stream.source >= 0:
                self._end(stream)
            return
        except OSError:  # EIO, ENOSPC: it cannot be written there, whoever listens
            self._drop(stream)
            return
        stream.pending = stream.pending[written:]
        if not stream.pending:
            self.poll.unregister(stream.sink)
            self._read_again(stream)

    def _drop(self, stream: Stream) -> None:
        """Let go of a sink; it is closed, for whoever reads from it may wait for its end."""
        try:
            self.poll.unregister(stream.sink)
        except (KeyError, OSError, ValueError):
            pass
        os.close(stream.sink)
        stream.sink, stream.pending = -1, b""
        self._read_again(stream)

    def _read_again(self, stream: Stream) -> None:
        if stream.source < 0:
            return
        self.poll.register(stream.source, select.POLLIN)
        if stream.left is not None:
            self._read_on(stream)

    def _read_on(self, stream: Stream) -> None:
        """Read what is left, until it has to be passed on: poll(2) does not report what nobody writes to any more."""
        while stream.source >= 0 and not stream.pending:
            self._read(stream)

    def detach(self) -> None:
        """Stop passing anything on; the log goes on."""
        for stream in self.streams:
            if stream.sink >= 0:
                self._drop(stream)

    def close(self) -> None:
        """End the log. What it could not take is told by `log_error`."""
        if self._log:
            try:
                self._log.close()
            except OSError as error:
                self.log_error = self.log_error or f"the log ends early: {error.strerror}"
