"""The container's output on its way to the log and to the descriptors of those who are attached.

What is read is logged at once; what an attached one cannot take yet holds the container back, not the machine's memory: a
stream is read again only when all of them have what came before.
"""

from __future__ import annotations

import os
import stat

from cratebox.engine import loop as waiting
from cratebox.engine.logs import LogWriter
from cratebox.linux import pipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.holding import Holds

_READ = 65536
_TERMINAL_HOLDS = 1 << 18  # bytes; a terminal holds less (tty_buffer.c, n_tty.c)
_PIPE_BUF = 4096  # after POLLOUT that much goes into a pipe without blocking (pipe(7))


class Sink:
    """Where one who is attached wants a stream: a descriptor that nobody else polls, and what it has not taken yet.

    `broken` is called where he has closed the other end, `failed` with an errno where it cannot be written to.
    """

    def __init__(self, fd: int, broken: Callable[[], object], failed: Callable[[int], object]) -> None:
        self.fd, self.broken, self.failed = fd, broken, failed
        self.pending = b""


class Stream:
    """One output of the container: `source` is read, `sinks` are where it goes."""

    def __init__(self, name: str, source: int) -> None:
        self.name, self.source = name, source
        self.is_pipe = stat.S_ISFIFO(os.fstat(source).st_mode)
        if self.is_pipe:
            os.set_blocking(source, False)  # a container may read its own output: it may be gone between poll(2) and our turn
        self.sinks: list[Sink] = []
        self.left: int | None = None  # bytes that are still to be read, once nobody of the container's can write more

    @property
    def held_up(self) -> bool:
        """Whether somebody has not taken all yet."""
        return any(sink.pending for sink in self.sinks)


class Pump:
    """Streams and their log, turned by a supervisor's loop.

    `unheard` is called with a stream whose last sink has been closed by whoever was attached.
    """

    def __init__(
        self,
        loop: waiting.Loop,
        streams: list[Stream],
        log: LogWriter | None,
        unheard: Callable[[Stream], None],
        holds: Callable[[LogWriter], Holds],
    ) -> None:
        self.streams = streams
        self._loop = loop
        self._log = log
        self._unheard = unheard
        self._make_holds = holds
        self._holds: Holds | None = None  # made when there is something to hold
        self._unheld = False
        self._much = False  # there is so much output that its memory is worth keeping
        for stream in streams:
            self._watch(stream)

    @property
    def open(self) -> bool:
        """Whether any stream may still bring something, or has something to pass on."""
        return any(stream.source >= 0 or stream.held_up for stream in self.streams)

    @property
    def rests(self) -> bool:
        """Whether nothing is on its way, so that another could go on in its place."""
        return not any(stream.held_up or stream.left is not None for stream in self.streams) and (
            not self._log or self._log.is_whole
        )

    def flush(self) -> None:
        """Have all that was read in the log."""
        if self._holds:
            self._holds.flush()
        elif self._log:
            self._log.flush()

    def _watch(self, stream: Stream) -> None:
        self._loop.watch(stream.source, lambda: self._read(stream))

    def _read(self, stream: Stream) -> None:
        try:
            data = self._take(stream, _READ if stream.left is None else min(_READ, stream.left))
        except BlockingIOError:
            if stream.left is None:  # another read was faster
                return
            data = b""
        except OSError:  # EIO: the last process that had the terminal open is gone
            data = b""
        if stream.left is not None:
            stream.left -= len(data)
        if len(data) == _READ and not self._much:
            from cratebox.linux import memory  # where little is said, it is not needed

            self._much = True
            memory.keep_freed()
        if data:
            self._keep(stream, data)
            if stream.sinks:
                self._pass(stream, data)
        if not data or stream.left == 0:
            self.end(stream)

    def _take(self, stream: Stream, most: int) -> bytes:
        if not self._holds and self._log and stream.is_pipe and pipes.readable(stream.source):
            self.recover()
        if not self._holds or not stream.is_pipe:
            return os.read(stream.source, most)
        return self._holds.take(stream.name, stream.source, most)

    def _keep(self, stream: Stream, data: bytes) -> None:
        if self._holds and stream.is_pipe:
            self._holds.log(stream.name, data)
        elif self._log:
            self._log.write(stream.name, data)

    def recover(self) -> None:
        """Put into the log what a supervisor that was killed has left on its way there. Where nothing can be held, it goes
        there at once, and may be lost with this one.
        """
        if self._log and self.streams and self.streams[0].is_pipe and not self._unheld:
            try:
                self._holds = self._make_holds(self._log)
            except OSError:
                self._unheld = True

    def end(self, stream: Stream) -> None:
        """Read no more of a stream, and close its source."""
        if stream.source >= 0:
            self._loop.unwatch(stream.source)
            os.close(stream.source)
            stream.source = -1

    def writers_are_gone(self) -> None:
        """The container's processes have ended: what they wrote to pipes is there by now, and is all that counts.

        A descriptor that one of them gave away would keep the stream open, and somebody else's words coming.
        """
        for stream in self.streams:
            if stream.source >= 0 and stream.is_pipe:
                stream.left = pipes.readable(stream.source)
                if not stream.left and not stream.held_up:
                    self.end(stream)

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

    @property
    def log_error(self) -> str:
        """What the log could not take, and why: that must not end the container."""
        return self._log.error if self._log else ""

    # Those who are attached

    def attach(self, name: str, sink: Sink) -> None:
        """Pass on to `sink` what the stream `name` brings from now on; the sink is the pump's to close."""
        for stream in self.streams:
            if stream.name == name:
                stream.sinks.append(sink)
                return
        os.close(sink.fd)

    def detach(self, sink: Sink) -> None:
        """Pass nothing on to `sink` any more, and close it; the log goes on. Nothing where it is closed already."""
        for stream in self.streams:
            if sink in stream.sinks:
                self._drop(stream, sink)

    def _pass(self, stream: Stream, data: bytes) -> None:
        self._loop.unwatch(stream.source)
        for sink in stream.sinks:
            sink.pending = data
            # A regular file is not pollable in every way, but always ready: poll reports it at once.
            self._loop.watch(sink.fd, lambda sink=sink: self._pass_on(stream, sink), waiting.WRITE)  # type: ignore[misc]

    def _pass_on(self, stream: Stream, sink: Sink) -> None:
        try:
            written = os.write(sink.fd, sink.pending[:_PIPE_BUF])
        except BlockingIOError:
            return
        except BrokenPipeError:  # he does not listen any more
            self._drop(stream, sink)
            if not stream.sinks:
                self._unheard(stream)
            sink.broken()
            return
        except OSError as error:  # EIO, ENOSPC: it cannot be written there, whoever listens
            self._drop(stream, sink)
            sink.failed(error.errno or 0)
            return
        sink.pending = sink.pending[written:]
        if not sink.pending:
            self._loop.unwatch(sink.fd)
            self._read_again(stream)

    def _drop(self, stream: Stream, sink: Sink) -> None:
        """Let go of a sink; it is closed, for whoever reads from it may wait for its end."""
        stream.sinks.remove(sink)
        self._loop.unwatch(sink.fd)
        os.close(sink.fd)
        if sink.pending:
            sink.pending = b""
            self._read_again(stream)

    def _read_again(self, stream: Stream) -> None:
        if stream.source < 0 or stream.held_up:
            return
        self._watch(stream)
        if stream.left is not None:
            self._read_on(stream)

    def _read_on(self, stream: Stream) -> None:
        """Read what is left, until it has to be passed on: poll(2) does not report what nobody writes to any more."""
        while stream.source >= 0 and not stream.held_up:
            self._read(stream)

    def close(self) -> None:
        """End the log and let go of all who are attached."""
        for stream in self.streams:
            self.end(stream)
            for sink in stream.sinks[:]:
                self._drop(stream, sink)
        if self._log:
            self._log.close()
        if self._holds:
            self._holds.close()
