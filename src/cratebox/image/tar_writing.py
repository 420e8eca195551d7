"""Writing tar as a stream: ustar, and pax for what does not fit into it. The same entries give the same bytes.

Formats: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; attributes are SCHILY.xattr records, which Go,
GNU tar and libarchive read. Holes are written as zeros: readers of layers do not agree on sparse files (OCI image-spec,
layer.md).
"""

from __future__ import annotations

import os

from cratebox.image import tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 20
ZEROS = bytes(CHUNK)
END = bytes(2 * tar.BLOCK)

_MOST_NAME = 100  # bytes
_MOST_ID, _MOST_SIZE = 0o7777777, 0o77777777777


def header(entry: tar.Entry) -> bytes:
    """Return the header of `entry`, and before it a pax header where ustar is too small for it. Times are cut to seconds."""
    records = _records(entry)
    block = _block(entry, entry.name, entry.kind, min(entry.size, _MOST_SIZE))
    if not records:
        return block
    extended = tar.Entry(b"", b"x")
    extended.mode = 0o644
    name = b"PaxHeaders/" + entry.name.rstrip(b"/").rpartition(b"/")[2]
    return _block(extended, name, b"x", len(records)) + records + padding(len(records)) + block


def _records(entry: tar.Entry) -> bytes:
    found = []
    if len(entry.name) > _MOST_NAME:
        found.append(_record(b"path", entry.name))
    if len(entry.link) > _MOST_NAME:
        found.append(_record(b"linkpath", entry.link))
    for key, value, most in (
        (b"uid", entry.uid, _MOST_ID),
        (b"gid", entry.gid, _MOST_ID),
        (b"size", entry.size, _MOST_SIZE),
        (b"mtime", entry.mtime // 10**9, _MOST_SIZE),
    ):
        if not 0 <= value <= most:
            found.append(_record(key, b"%d" % value))
    for attribute, content in sorted((entry.xattrs or {}).items()):
        found.append(_record(b"SCHILY.xattr." + attribute, content))
    return b"".join(found)


def _record(key: bytes, value: bytes) -> bytes:
    """LENGTH KEY=VALUE and a newline; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _block(entry: tar.Entry, name: bytes, kind: bytes, size: int) -> bytes:
    seconds = entry.mtime // 10**9
    fields = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%b%b%07o\0%07o\0" % (
        name[:_MOST_NAME].ljust(_MOST_NAME, b"\0"),
        entry.mode & 0o7777,
        entry.uid if 0 <= entry.uid <= _MOST_ID else 0,
        entry.gid if 0 <= entry.gid <= _MOST_ID else 0,
        size,
        seconds if 0 <= seconds <= _MOST_SIZE else 0,
        kind,
        entry.link[:_MOST_NAME].ljust(_MOST_NAME, b"\0"),
        b"ustar\x0000",
        bytes(64),  # names of user and group: numbers alone count
        entry.major,
        entry.minor,
    )
    block = fields.ljust(tar.BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    """Return what fills `size` bytes up to whole blocks."""
    return bytes(-size % tar.BLOCK)


def content(fd: int, size: int) -> Iterator[bytes]:
    """Yield exactly `size` bytes of the file `fd`: it may become longer or shorter meanwhile, its header cannot.
    Raises OSError.
    """
    position = 0
    while position < size:
        room = min(CHUNK, size - position)
        data = os.pread(fd, room, position)
        if not data:
            break
        yield data
        position += len(data)
        if data == ZEROS:
            end = _end_of_hole(fd, position, size)
            while position + CHUNK <= end:
                yield ZEROS
                position += CHUNK
    while position < size:
        yield ZEROS[: min(CHUNK, size - position)]
        position += CHUNK


def _end_of_hole(fd: int, position: int, size: int) -> int:
    """Return where the next data of the file are: lseek(2), SEEK_DATA."""
    try:
        return min(os.lseek(fd, position, os.SEEK_DATA), size)
    except OSError:
        return size  # nothing but a hole follows
