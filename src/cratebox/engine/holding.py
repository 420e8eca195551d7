"""Output on its way from the container to its log, held where a supervisor that is killed cannot take it along.

    source ── splice ──> hold ── tee ──> scratch ── read ──> log
    (the container's)    (a pipe that the guardian has too)

The bytes stay in the hold until they are in the log; then they are dropped. A note says how far the log is, and between the two
how many bytes are to remain in each hold. So whoever takes over drops what still had to be dropped, cuts the log to the size
that was noted, and writes what is held again. Nothing is lost and nothing comes twice. Moving and dropping are by reference;
only reading copies (splice(2), tee(2)).
"""

from __future__ import annotations

import os
import struct

from cratebox.linux import pipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.logs import LogWriter

_POSITION = struct.Struct("=QQ")  # inode and size of the newest file of the log
_REMAINING = struct.Struct("=qq")  # bytes of stdout and of stderr that are to remain in their holds
_ALL = -1  # instead of such a number: nothing is to be dropped


class Hold:
    """What one stream has brought: `held` bytes, the first `given` of which were handed to the log, which holds them back."""

    def __init__(self, read: int, write: int, scratch: tuple[int, int], null: int) -> None:
        self._read, self._write, self._scratch, self._null = read, write, scratch, null
        self.held, self.given = pipes.readable(read), 0
        os.set_blocking(write, False)
        os.set_blocking(read, False)

    @property
    def room(self) -> int:
        """How many bytes it holds at most."""
        return pipes.room(self._read)

    def shrink(self, room: int) -> None:
        """Hold no more than `room` bytes from now on. Raises OSError: EBUSY where more is in it."""
        pipes.set_room(self._read, room)

    def take(self, source: int, most: int) -> bytes:
        """Move up to `most` bytes of `source` here and return them; none at its end. Raises BlockingIOError where there is no
        room: a pipe holds sixteen writes, however small.
        """
        count = os.splice(source, self._write, most)
        self.held += count
        return self.look() if count else b""

    def look(self) -> bytes:
        """Return what was not given yet: the beginning of it, or nothing,
        where the scratch has no room for all that is held.
        """
        count = pipes.tee(self._read, self._scratch[1], self.held) if self.held else 0
        found = b""
        while len(found) < count:
            found += os.read(self._scratch[0], count)
        return found[self.given :]

    def drop(self, remaining: int) -> None:
        """Let go of all but the last `remaining` bytes."""
        # By splice(2), which takes a part of what one write brought. Of a packet, which a container's program may write with O_DIRECT
        # (pipe(2)), read(2) would drop the rest as well.
        while self.held > remaining:
            try:
                gone = os.splice(self._read, self._null, self.held - remaining)
            except BlockingIOError:
                gone = 0
            # Where there is less than was counted, nothing is waited for.
            self.held = self.held - gone if gone else min(remaining, pipes.readable(self._read))


class Holds:
    """The holds of a container's streams, stdout and stderr, and the note of how far its log was, in the file `path`."""

    def __init__(self, path: str, log: LogWriter, pairs: dict[str, tuple[int, int]]) -> None:
        self._log = log
        self._fds: tuple[int, ...] = ()
        try:
            self._note = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._fds = (self._note,)
            self._scratch = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._fds += self._scratch
            null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            self._fds += (null,)
            self._holds = {name: Hold(*pair, self._scratch, null) for name, pair in pairs.items()}
            self._replay()
            self._see_all()
        except OSError:
            _forget(path)  # what is logged without notes is not to be cut off by whoever comes next
            self._close()
            raise

    def _replay(self) -> None:
        """Have in the log what another supervisor has left here."""
        noted = os.pread(self._note, _POSITION.size + _REMAINING.size, 0)
        position, remaining = noted[: _POSITION.size], noted[_POSITION.size :]
        if len(remaining) == _REMAINING.size:  # an older crate writes no such thing
            for hold, count in zip(self._holds.values(), _REMAINING.unpack(remaining), strict=True):
                if count != _ALL:
                    hold.drop(count)
        if len(position) == _POSITION.size and any(hold.held for hold in self._holds.values()):
            self._log.rewind(*_POSITION.unpack(position))
        for name, hold in self._holds.items():
            while hold.held > hold.given:
                data = hold.look()
                if data:
                    self.log(name, data)
                else:
                    self.flush()
        self._write_note()

    def _see_all(self) -> None:
        """Have no hold be larger than the scratch, by which it is looked at:
        who has too many pipes gets small ones (pipe(7)).
        """
        room, largest = pipes.room(self._scratch[1]), max(hold.room for hold in self._holds.values())
        if room >= largest:
            return
        try:
            pipes.set_room(self._scratch[1], largest)
        except PermissionError:
            self.flush()
            for hold in self._holds.values():
                if hold.room > room:
                    hold.shrink(room)

    def take(self, name: str, source: int, most: int) -> bytes:
        """Return the next bytes of a stream, none at its end; they are to be given to `log`. Raises OSError."""
        try:
            return self._holds[name].take(source, most)
        except BlockingIOError:
            # Many small pieces of a line without an end: it is written in parts. Or the source is empty, for the container has read
            # what it wrote, and the second try says so; at its end there is no telling the two apart.
            self.flush()
            return self._holds[name].take(source, most)

    def log(self, name: str, data: bytes) -> None:
        """Write what was taken to the log, and let go of as much as is there."""
        self._log.write(name, data)
        self._holds[name].given += len(data)
        self._let_go()

    def flush(self) -> None:
        """Write what the log holds back."""
        self._log.flush()
        self._let_go()

    def _let_go(self) -> None:
        """Drop what was given to the log, and is not held back there."""
        back = {name: self._log.held_back(name) for name in self._holds}
        remaining = [hold.held - hold.given + back[name] for name, hold in self._holds.items()]
        if remaining == [hold.held for hold in self._holds.values()]:
            return
        self._write_note(*remaining)
        for (name, hold), count in zip(self._holds.items(), remaining, strict=True):
            hold.drop(count)
            hold.given = back[name]
        self._write_note()

    def _write_note(self, stdout: int = _ALL, stderr: int = _ALL) -> None:
        os.pwrite(self._note, _POSITION.pack(*self._log.position) + _REMAINING.pack(stdout, stderr), 0)

    def close(self) -> None:
        """The log ends; what it held back is written by then."""
        self._let_go()
        self._close()

    def _close(self) -> None:
        for fd in self._fds:
            os.close(fd)


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # there is none
