"""The container's output on its way to the log and, while somebody is attached, to his standard output and error.

The supervisor turns this wheel. What is read is logged at once; what the attached side cannot take yet holds the container
back, not the machine's memory: a stream is read again only when what came before has been passed on.
"""

from __future__ import annotations

import os
import select

from cratebox.engine.logs import LogWriter

_READ = 65536
_PIPE_BUF = 4096  # after POLLOUT that much goes into a pipe without blocking (pipe(7))


class Stream:
    """One output of the container: `source` is read, `sink` (or -1) is where the attached side wants it."""

    def __init__(self, name: str, source: int, sink: int) -> None:
        self.name, self.source, self.sink = name, source, sink
        self.pending = b""


class Pump:
    """Streams, the log, and the poll(2) set they share with the supervisor's other descriptors."""

    def __init__(self, streams: list[Stream], log: LogWriter | None) -> None:
        self.streams = streams
        self._log = log
        self.poll = select.poll()
        self.log_error = ""
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
            data = os.read(stream.source, _READ)
        except BlockingIOError:  # the client made the terminal non-blocking, and another read was faster
            return
        except OSError:  # EIO: the last process that had the terminal open is gone
            data = b""
        if not data:
            self.poll.unregister(stream.source)
            os.close(stream.source)
            stream.source = -1
            return
        self._keep(stream.name, data)
        if stream.sink >= 0:
            stream.pending = data
            self.poll.unregister(stream.source)
            self._watch(stream)

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
        except OSError:  # EPIPE, EIO: whoever was attached does not listen any more
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
        if stream.source >= 0:
            self.poll.register(stream.source, select.POLLIN)

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
