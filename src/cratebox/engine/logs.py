"""What a container said, kept for `crate logs`: one line of the file a line of output, in one of two forms.

json-file, Docker's, which those who ship logs elsewhere read; without its end of line it is a part of a line that goes on:

    {"log":"hello\\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}

k8s-file, that of the Kubernetes container runtime interface and of Podman: F for a full line or P for a part of one, then the
bytes as they were:

    2026-01-31T12:00:00.123456789Z stdout F hello

Nothing is lost in either. JSON is text, and output need not be: a byte that is no UTF-8 is written as the lone surrogate that
Python has for it, "\\udcff" for 255. Other readers take that for U+FFFD, which is what Docker writes in its place; `crate logs`
gives the byte back.

    LOG        the newest lines
    LOG.1      what was LOG before it had grown to its bound; then LOG.2, and so on: the higher, the older

log_reading.py reads both forms, whichever of them a file holds.
"""

from __future__ import annotations

import os
import time

from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.engine.records import Container

_PART = 16384  # bytes of a line without an end that are held back; then it is written in parts
_JSON_HEAD = b'{"log":"'
_LONGEST = 1 << 24  # bytes of a line of a log: more than anybody writes
_ESCAPES = {code: b"\\u%04x" % code for code in range(0x20) if code != 0x0A} | {0x09: b"\\t", 0x0D: b"\\r"}
_NO_CONTROL = bytes(code for code in range(256) if code not in _ESCAPES)


class LogWish(Record):
    """How a container's output is to be kept: in files of about `most` bytes (0: no bound), `files` of them.

    `attributes` is what each line of json-file says about the container, as JSON, or empty.
    """

    driver: str = "json-file"  # or k8s-file
    most: int = 10 << 20
    files: int = 3
    attributes: str = ""


def wish_of(container: Container) -> LogWish | None:
    """Return how the output of a container is to be kept, None where it is not."""
    config = container.config
    if config.log_driver == "none":
        return None
    if not config.log_options:
        return LogWish(config.log_driver)
    from cratebox.engine.log_options import wish_with_options

    return wish_with_options(container)


class LogWriter:
    """Writes a container's output to the file `path`, which is appended to. Its only writer is the supervisor.

    What cannot be written (a full disk) is lost, and not kept in memory: the container goes on, the next line is tried
    again. `error` tells it, and the file `trouble`, for those who look while the container runs.
    """

    def __init__(self, path: str, wish: LogWish | None = None, trouble: str = "") -> None:
        self._path, self._wish, self._trouble = path, wish or LogWish(), trouble
        self._form = _CRI() if self._wish.driver == "k8s-file" else _JSON(self._wish.attributes)
        self._rest: dict[str, bytes] = {}
        self._maimed: set[str] = set()  # streams whose line lacks its beginning: its end is no line
        self._lost = 0  # bytes
        self._reason = ""
        self._clock = 0  # nanoseconds since 1970, of the last line
        self._open()
        self._cut_off_half_a_line()

    @property
    def error(self) -> str:
        """What the log lacks, and why; empty where it has everything."""
        return f"the log lacks {self._lost} bytes of output: {self._reason}" if self._reason else ""

    @property
    def is_whole(self) -> bool:
        """Whether another writer could go on in its place, once what is held back is flushed."""
        return not (self._maimed or self._reason)

    def held_back(self, stream: str) -> int:
        """Return how many bytes of `stream` wait for the end of their line."""
        return len(self._rest.get(stream, b""))

    @property
    def position(self) -> tuple[int, int]:
        """How far the log is: the inode of its newest file and its size in bytes."""
        return self._inode, self._size

    def rewind(self, inode: int, size: int) -> None:
        """Go back to what `position` said: files that have been begun since are emptied. Raises OSError."""
        for name in (self._path, *(f"{self._path}.{number}" for number in range(1, self._wish.files))):
            try:
                found = os.stat(name)
                os.truncate(name, min(size, found.st_size) if found.st_ino == inode else 0)
            except FileNotFoundError:
                break
            if found.st_ino == inode:
                break
        self._size = os.fstat(self._fd).st_size

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        found = os.fstat(self._fd)
        self._inode, self._size = found.st_ino, found.st_size

    def _cut_off_half_a_line(self) -> None:
        """A writer before was killed while it wrote: what is no whole line must not spoil the next one."""
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            begin = max(self._size - _LONGEST, 0)
            self._cut(begin + os.pread(self._fd, self._size - begin, begin).rfind(b"\n") + 1)

    def _cut(self, size: int) -> None:
        if size != self._size:
            os.ftruncate(self._fd, size)
            self._size = size

    def write(self, stream: str, data: bytes) -> None:
        """Take the next bytes of `stream`, "stdout" or "stderr"; whole lines are written at once. Raises nothing."""
        data = self._rest.pop(stream, b"") + data
        if stream in self._maimed:
            data = self._to_next_line(stream, data)
        border = data.rfind(b"\n") + 1
        rest = data[border:]
        if border:
            self._put(self._form.lines(self._stamp(), stream, data[:border]), border)
        if len(rest) > _PART:
            border = _border(rest)
            if not self._put(self._form.part(self._stamp(), stream, rest[:border]), border):
                self._maimed.add(stream)
            rest = rest[border:]
        if rest:
            self._rest[stream] = rest

    def _to_next_line(self, stream: str, data: bytes) -> bytes:
        border = data.find(b"\n") + 1
        if border:
            self._maimed.discard(stream)
        else:
            border = len(data)
        self._lost += border
        return data[border:]

    def _stamp(self) -> bytes:
        """Return the time, which never goes back, whatever is done to the clock."""
        self._clock = max(self._clock, time.time_ns())
        seconds, nanoseconds = divmod(self._clock, 1_000_000_000)
        return b"%04d-%02d-%02dT%02d:%02d:%02d.%09dZ" % (*time.gmtime(seconds)[:6], nanoseconds)

    def _put(self, lines: bytes, count: int) -> bool:
        """Write lines, which stand for `count` bytes of output; tell whether that was done."""
        try:
            for some in self._in_files(lines):
                self._append(some)
        except OSError as error:
            self._lost += count
            if not self._reason:
                self._reason = error.strerror or "unknown"
                tell_trouble(self._trouble, f"the log lacks some output: {self._reason}")
            return False
        return True

    def _in_files(self, lines: bytes) -> Iterator[bytes]:
        """Cut lines to what the file has room for, and begin the next file where it has none."""
        most = self._wish.most
        while most and self._size + len(lines) > most:
            border = lines.rfind(b"\n", 0, max(most - self._size, 0)) + 1
            if not border and not self._size:  # one line alone is longer than a file
                border = lines.index(b"\n") + 1
            if border:
                yield lines[:border]
                lines = lines[border:]
            if not lines:
                return
            self._turn()
        yield lines

    def _append(self, lines: bytes) -> None:
        before, rest = self._size, lines
        try:
            while rest:
                written = os.write(self._fd, rest)
                self._size += written
                rest = rest[written:]
        except OSError:
            self._cut(before + lines.rfind(b"\n", 0, self._size - before) + 1)
            raise

    def _turn(self) -> None:
        """Begin a new file; the others become the older ones by one, the oldest goes.

        The oldest is renamed first. Where this is cut short, a number is free, which the next time fills: nothing is lost
        and nothing changes places.
        """
        names = [self._path, *(f"{self._path}.{number}" for number in range(1, self._wish.files))]
        free = next((number for number, name in enumerate(names) if not os.path.lexists(name)), len(names) - 1)
        for number in range(free, 0, -1):
            os.rename(names[number - 1], names[number])
        if len(names) == 1:
            os.unlink(self._path)
        full = self._fd
        self._open()
        os.close(full)

    def flush(self) -> None:
        """Write what has no end of line yet, as a part of a line. Raises nothing."""
        for stream, rest in self._rest.items():
            self._put(self._form.part(self._stamp(), stream, rest), len(rest))
        self._rest = {}

    def close(self) -> None:
        """Write what has no end of line yet, and close the file. Raises nothing."""
        self.flush()
        os.close(self._fd)


def tell_trouble(path: str, text: str) -> None:
    """Tell in the file `path` what keeps a log from being whole: see `read_trouble`. Never raises."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        pass  # that disk may be full as well


def read_trouble(path: str) -> str:
    """Return what a writer has told in its file `trouble`, which may not be there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(300)
    except OSError:
        return ""


def _border(data: bytes) -> int:
    """Return where `data` can be cut without cutting a character of UTF-8 in two."""
    for length in (1, 2, 3):
        if data[-length] >= 0xC0:
            return len(data) - length
        if data[-length] < 0x80:
            break
    return len(data)


def _between(head: bytes, lines: bytes) -> bytes:
    """Return `lines` with the head before them that stands behind them, with one copy for all."""
    return b"".join((head, memoryview(lines)[: -len(head)]))


class _CRI:
    """Lines of k8s-file."""

    def lines(self, stamp: bytes, stream: str, data: bytes) -> bytes:
        """Return whole lines in this form: all of `data` at once, for a loop over its lines would cost ten times as much."""
        head = b"%b %b F " % (stamp, stream.encode())
        return _between(head, data.replace(b"\n", b"\n" + head))

    def part(self, stamp: bytes, stream: str, data: bytes) -> bytes:
        """Return a part of a line, which has no end of line in it, in this form."""
        return b"%b %b P %b\n" % (stamp, stream.encode(), data)


class _JSON:
    """Lines of json-file."""

    def __init__(self, attributes: str) -> None:
        self._attributes = b'"attrs":%b,' % attributes.encode() if attributes else b""

    def _tail(self, stamp: bytes, stream: str) -> bytes:
        return b'","stream":"%b",%b"time":"%b"}\n' % (stream.encode(), self._attributes, stamp)

    def lines(self, stamp: bytes, stream: str, data: bytes) -> bytes:
        """As that of _CRI."""
        tail = b"\\n" + self._tail(stamp, stream)
        return _between(_JSON_HEAD, _escaped(data).replace(b"\n", tail + _JSON_HEAD))

    def part(self, stamp: bytes, stream: str, data: bytes) -> bytes:
        """As that of _CRI."""
        return _JSON_HEAD + _escaped(data) + self._tail(stamp, stream)


def _escaped(data: bytes) -> bytes:
    """Return `data` as it stands in a string of JSON, ends of lines left as they are."""
    data = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    for code in set(data.translate(None, _NO_CONTROL)):
        data = data.replace(bytes((code,)), _ESCAPES[code])
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError:
        data = data.decode(errors="surrogateescape").encode(errors="backslashreplace")
    return data
