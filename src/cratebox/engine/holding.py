"""Output on its way from the container to its log, held where a supervisor that is killed cannot take it along.

    source ── splice ──> hold ── tee ──> scratch ── read ──> log
    (the container's)    (a pipe that the guardian has too)

The bytes stay in the hold until they are in the log; then they are dropped, and the log's size is noted. So whoever takes over finds
an empty hold, or one whose bytes are not in the log, or only partly: he cuts the log to the size that was noted and writes them
again. Nothing is lost and nothing comes twice. Moving and dropping are by reference; only reading copies (splice(2), tee(2)).
"""

from __future__ import annotations

import os
import struct

from cratebox.linux import pipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.logs import LogWriter

_READ = 65536
_NOTE = struct.Struct("=QQ")  # inode and size of the newest file of the log


class Hold:
    """What one stream has brought and the log has not: `tail` bytes of it were handed to the log, which holds them back."""

    def __init__(self, read: int, write: int, scratch: tuple[int, int]) -> None:
        self._read, self._write, self._scratch = read, write, scratch
        self.tail = 0
        os.set_blocking(write, False)

    def take(self, source: int, most: int) -> bytes:
        """Move up to `most` bytes of `source` here and return them; none at its end. Raises BlockingIOError where there is no room:
        a pipe holds sixteen writes, however small.
        """
        count = os.splice(source, self._write, most)
        return self._peek(self.tail + count)[self.tail :] if count else b""

    def left(self) -> bytes:
        """Return what another supervisor has left here."""
        return self._peek(pipes.readable(self._read))

    def _peek(self, count: int) -> bytes:
        count = pipes.tee(self._read, self._scratch[1], count) if count else 0
        found = b""
        while len(found) < count:
            found += os.read(self._scratch[0], count)
        return found

    def logged(self, count: int, tail: int) -> None:
        """Drop what the log has of `count` new bytes and those before: all but the last `tail`."""
        gone = self.tail + count - tail
        while gone > 0:
            gone -= len(os.read(self._read, min(gone, _READ)))
        self.tail = tail


class Holds:
    """The holds of a container's streams, and the note of how far its log was, in the file `path`."""

    def __init__(self, path: str, log: LogWriter, pairs: dict[str, tuple[int, int]]) -> None:
        self._log = log
        self._scratch = os.pipe2(os.O_CLOEXEC)
        self._holds = {name: Hold(*pair, self._scratch) for name, pair in pairs.items()}
        self._note = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._replay()
        except OSError:
            os.ftruncate(self._note, 0)  # what is logged without notes is not to be cut off by whoever comes next
            raise

    def _replay(self) -> None:
        left = {name: hold.left() for name, hold in self._holds.items()}
        noted = os.pread(self._note, _NOTE.size, 0)
        if any(left.values()) and len(noted) == _NOTE.size:
            self._log.rewind(*_NOTE.unpack(noted))
        for name, data in left.items():
            if data:
                self.log(name, data)
        self._write_note()

    def take(self, name: str, source: int, most: int) -> bytes:
        """Return the next bytes of a stream, none at its end; they are to be given to `log`. Raises OSError."""
        try:
            return self._holds[name].take(source, most)
        except BlockingIOError:
            self.flush()  # many small pieces of a line without an end: it is written in parts
            return self._holds[name].take(source, most)

    def log(self, name: str, data: bytes) -> None:
        """Write what was taken to the log, and let go of as much as is there."""
        self._log.write(name, data)
        self._holds[name].logged(len(data), self._log.held_back(name))
        self._write_note()

    def flush(self) -> None:
        """Write what the log holds back."""
        self._log.flush()
        for hold in self._holds.values():
            hold.logged(0, 0)
        self._write_note()

    def _write_note(self) -> None:
        os.pwrite(self._note, _NOTE.pack(*self._log.position), 0)

    def close(self) -> None:
        """The log ends; what it held back is written by then."""
        for hold in self._holds.values():
            hold.logged(0, 0)
        for fd in (*self._scratch, self._note):
            os.close(fd)
