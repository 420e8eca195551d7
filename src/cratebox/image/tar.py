"""Reading tar as a stream: one pass, bounded memory, nothing trusted.

Formats: ustar and pax (POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"), GNU (long names, base-256
numbers, sparse files of the old kind and 0.0, 0.1, 1.0; https://www.gnu.org/software/tar/manual/html_node/Standard.html),
v7. Where readers differ this one follows Go's archive/tar, which Docker, containerd and Podman unpack layers with, so that
nobody can make a layer that is one tree there and another here: links, devices and directories have no data whatever their
size field says; the first zero block ends the archive; a name in a global header is nobody's name.
"""

from __future__ import annotations

import os
from struct import Struct
from zlib import adler32

from cratebox.errors import Untrusted
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
MAX_HEADER = 1 << 20  # bytes of one extended header
MAX_EXTENDED = 4 << 20  # bytes of all the extended headers of one entry
MAX_NAME = 4096  # bytes of a path; the kernel's PATH_MAX
MAX_ENTRIES = 2_000_000
MAX_EXTENTS = 200_000  # pieces of one sparse file

REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_OLD_REGULAR, _CONTIGUOUS, _OLD_SPARSE, _DUMP_DIRECTORY = b"\0", b"7", b"S", b"D"
_PAX, _PAX_SUN, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, VOLUME = b"x", b"X", b"g", b"L", b"K", b"V"
_WITHOUT_DATA = frozenset((LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_EXTENDED = frozenset((_PAX, _PAX_SUN, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK))

_ZERO = bytes(BLOCK)
_FIELDS = Struct("100s24s12s12s8sc100s8s64s8s8s155s")  # name, mode+uid+gid, size, mtime, checksum, type, link, magic, ...
_ZEROS = bytes(1 << 20)
HOLE = 64 << 10  # bytes; a chunk of so many zeros is not written
_MAX_SIZE = 1 << 62
_MAX_SECONDS = 1 << 53


class Entry:
    """One member of the archive. Names are bytes as they came; `mtime` is in nanoseconds, `size` what reading gives."""

    __slots__ = ("extents", "gid", "kind", "link", "major", "minor", "mode", "mtime", "name", "size", "uid", "xattrs")

    def __init__(self, name: bytes, kind: bytes) -> None:
        self.name, self.kind = name, kind
        self.mode = self.uid = self.gid = self.mtime = self.size = self.major = self.minor = 0
        self.link = b""
        self.xattrs: dict[bytes, bytes] | None = None
        self.extents: list[tuple[int, int]] | None = None  # of a sparse file: (offset, length) of what is not a hole


class Reader:
    """The members of one archive, in order: `next` gives one, `copy` its data; what is not copied is skipped."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer, self._position = b"", 0
        self._left = 0  # bytes of data that the current member still has, without padding
        self._padding = 0
        self._global: dict[bytes, bytes] = {}
        self._owners: dict[bytes, tuple[int, int, int]] = {}
        self.entries = 0

    def next(self) -> Entry | None:
        """Return the next member, or None at the end of the archive. Raises Untrusted for what is not tar."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        pax: dict[bytes, bytes] = {}
        long: dict[bytes, bytes] = {}
        room = MAX_EXTENDED
        while True:
            block = self._take(BLOCK, at_end=not pax and not long)
            if block == _ZERO or not block:
                if pax or long:
                    raise Untrusted("the layer's tar ends after an extended header")
                return None
            fields = _FIELDS.unpack_from(block)
            kind = fields[5]
            self._count(block, fields[4])
            if kind not in _EXTENDED:
                break
            room -= self._extend(kind, _number(fields[2]), pax, long)
            if room < 0:
                raise Untrusted(f"an entry has more than {MAX_EXTENDED} bytes of extended headers")
        return self._entry(block, fields, pax, long)

    def _count(self, block: bytes, checksum: bytes) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise Untrusted(f"the layer has more than {MAX_ENTRIES} entries")
        # The header's sum, taken with blanks for the checksum itself. Adler-32 has the sum of all bytes, modulo 65521, in
        # its lower half: a hundredth of the time of sum(). It decides whether this is a header; integrity is the digest's.
        try:
            expected = (_number(checksum) + sum(checksum) - 255) % 65521
        except Untrusted:
            raise Untrusted("not a tar archive, or a damaged one: the checksum of a header is no number") from None
        if adler32(block) & 0xFFFF != expected and not _sums_up(block, checksum):
            raise Untrusted("not a tar archive, or a damaged one: the checksum of a header is wrong")

    def _extend(self, kind: bytes, size: int, pax: dict[bytes, bytes], long: dict[bytes, bytes]) -> int:
        if size > MAX_HEADER:
            raise Untrusted(f"an extended header of {size} bytes; more than {MAX_HEADER} are refused")
        data = self._take(size)
        self._skip(-size % BLOCK)
        if kind in (_PAX, _PAX_SUN):
            parse_pax(data, pax)
        elif kind == _PAX_GLOBAL:
            parse_pax(data, self._global)
            for key in self._global.keys() - {b"mtime", b"uid", b"gid"}:
                del self._global[key]
        else:
            long[kind] = data.partition(b"\0")[0]
        return size

    def _entry(self, block: bytes, fields: tuple[bytes, ...], pax: dict[bytes, bytes], long: dict[bytes, bytes]) -> Entry:
        kind = fields[5]
        name = long.get(_LONG_NAME) or _name(block, fields)
        if kind in (_OLD_REGULAR, _CONTIGUOUS, _DUMP_DIRECTORY):
            is_directory = kind == _DUMP_DIRECTORY or (kind == _OLD_REGULAR and name.endswith(b"/"))
            kind = DIRECTORY if is_directory else REGULAR
        entry = Entry(name, REGULAR if kind == _OLD_SPARSE else kind)
        owner = self._owners.get(fields[1])
        if owner is None:
            owner = self._owner(fields[1])
        entry.mode, entry.uid, entry.gid = owner
        entry.size = _number(fields[2])
        entry.mtime = _number(fields[3], signed=True) * 1_000_000_000
        if kind in _WITHOUT_DATA:
            entry.link = long.get(_LONG_LINK) or fields[6].partition(b"\0")[0]
            if kind in (CHARACTER, BLOCK_DEVICE):
                entry.major, entry.minor = _number(fields[9]), _number(fields[10])
        if pax or self._global:
            _override(entry, {**self._global, **pax} if self._global else pax)
        _check(entry)
        stored = 0 if kind in _WITHOUT_DATA and fields[5] != _DUMP_DIRECTORY else entry.size
        entry.size = 0 if kind in _WITHOUT_DATA else entry.size
        self._left, self._padding = stored, -stored % BLOCK
        if kind == _OLD_SPARSE:
            self._old_sparse(entry, block)
        elif b"GNU.sparse.major" in pax or b"GNU.sparse.map" in pax:
            self._pax_sparse(entry, pax)
        return entry

    def _owner(self, raw: bytes) -> tuple[int, int, int]:
        if len(self._owners) > 10_000:
            self._owners.clear()
        owner = (_number(raw[:8]) & 0o7777, _number(raw[8:16]), _number(raw[16:]))
        self._owners[raw] = owner
        return owner

    def _old_sparse(self, entry: Entry, block: bytes) -> None:
        """GNU's own kind: four extents in the header, 21 in each block that follows while a flag says so."""
        extents = [_extent(block, position) for position in range(386, 482, 24)]
        size, more = _number(block[483:495]), block[482]
        while more:
            block = self._take(BLOCK)
            extents += [_extent(block, position) for position in range(0, 504, 24)]
            more = block[504]
            if len(extents) > MAX_EXTENTS:
                raise Untrusted(f"{shown_name(entry)}: a sparse file of more than {MAX_EXTENTS} pieces")
        # An extent that says nothing ends the table.
        self._set_extents(entry, [extent for extent in extents if extent != (0, 0)], size)

    def _pax_sparse(self, entry: Entry, pax: dict[bytes, bytes]) -> None:
        if b"GNU.sparse.major" in pax:
            if (pax[b"GNU.sparse.major"], pax.get(b"GNU.sparse.minor")) != (b"1", b"0"):
                raise Untrusted(f"{shown_name(entry)}: a sparse file of an unknown format")
            numbers = self._sparse_table(entry)
        else:
            numbers = [_decimal(number) for number in pax[b"GNU.sparse.map"].split(b",")] if pax[b"GNU.sparse.map"] else []
        size = pax.get(b"GNU.sparse.realsize", pax.get(b"GNU.sparse.size"))
        if size is None or len(numbers) % 2 or len(numbers) > 2 * MAX_EXTENTS:
            raise Untrusted(f"{shown_name(entry)}: the map of a sparse file is damaged")
        self._set_extents(entry, list(zip(numbers[::2], numbers[1::2], strict=True)), _decimal(size))

    def _sparse_table(self, entry: Entry) -> list[int]:
        """Format 1.0 has the map before the data: decimal numbers, a line each, padded to a block; first, how many pieces."""
        lines: list[bytes] = []
        rest, wanted = b"", 1
        while len(lines) < wanted:
            if self._left < BLOCK:
                raise Untrusted(f"{shown_name(entry)}: the map of a sparse file is longer than the file")
            *whole, rest = (rest + self._take(BLOCK)).split(b"\n")
            self._left -= BLOCK
            lines += whole
            if lines and wanted == 1:
                wanted = 1 + 2 * _decimal(lines[0])
            if wanted > 2 * MAX_EXTENTS or (len(rest) > 20 and len(lines) < wanted):
                raise Untrusted(f"{shown_name(entry)}: the map of a sparse file is damaged")
        return [_decimal(line) for line in lines[1:wanted]]

    def _set_extents(self, entry: Entry, extents: list[tuple[int, int]], size: int) -> None:
        end = 0
        for offset, length in extents:
            if offset < end or length > _MAX_SIZE:
                raise Untrusted(f"{shown_name(entry)}: the pieces of a sparse file overlap")
            end = offset + length
        if end > size or size > _MAX_SIZE or sum(length for _, length in extents) != self._left:
            raise Untrusted(f"{shown_name(entry)}: the pieces of a sparse file are not what its size says")
        entry.extents, entry.size = extents, size

    def copy(self, fd: int, size: int, offset: int = 0) -> None:
        """Write the next `size` bytes of the member's data to `fd` at `offset`. Raises Untrusted, OSError.

        A chunk of zeros becomes a hole: it reads the same. The caller sets the length of a file of `HOLE` bytes or more.
        """
        self._left -= size
        while size > 0:
            buffer, position = self._buffer, self._position
            count = min(size, len(buffer) - position)
            if not count:
                self._refill()
                continue
            if count < HOLE or count != len(buffer) or buffer[0] or buffer != _ZEROS[:count]:
                view = memoryview(buffer)[position : position + count]
                written = os.pwrite(fd, view, offset)
                while written < count:
                    written += os.pwrite(fd, view[written:], offset + written)
            self._position += count
            offset += count
            size -= count

    @property
    def stored(self) -> int:
        """How many bytes of data the current member has in the archive (a sparse file has fewer than its size)."""
        return self._left

    def drain(self, limit: int) -> None:
        """Read the stream to its end: what follows the archive counts for the digest. Raises Untrusted past `limit` bytes."""
        self._buffer, self._position = b"", 0
        for chunk in self._chunks:
            limit -= len(chunk)
            if limit < 0:
                raise Untrusted("the layer goes on and on after the end of its archive")

    def _refill(self) -> None:
        self._buffer, self._position = next(self._chunks, b""), 0
        if not self._buffer:
            raise Untrusted("the layer's tar is cut short")

    def _take(self, count: int, *, at_end: bool = False) -> bytes:
        """Return the next `count` bytes; b"" where the stream ends here and `at_end` allows it."""
        end = self._position + count
        if end > len(self._buffer):
            rest = [self._buffer[self._position :]]
            missing = count - len(rest[0])
            while missing > 0:
                chunk = next(self._chunks, b"")
                if not chunk:
                    if at_end and missing == count:
                        return b""
                    raise Untrusted("the layer's tar is cut short")
                rest.append(chunk)
                missing -= len(chunk)
            self._buffer, self._position, end = b"".join(rest), 0, count
        taken = self._buffer[self._position : end]
        self._position = end
        return taken

    def _skip(self, count: int) -> None:
        while count > 0:
            step = min(count, len(self._buffer) - self._position)
            if not step:
                self._refill()
                continue
            self._position += step
            count -= step


def parse_pax(data: bytes, into: dict[bytes, bytes]) -> None:
    """Add the records of an extended header to `into`: "LENGTH KEY=VALUE\\n", the length that of the whole record.

    The two keys that may come many times (sparse format 0.0) are gathered under the key of format 0.1. Raises Untrusted.
    """
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            raise Untrusted("an extended header is damaged")
        end = position + int(digits)
        equals = data.find(b"=", space, end)
        if equals <= space + 1 or end > len(data) or data[end - 1] != 10:
            raise Untrusted("an extended header is damaged")
        key, value = data[space + 1 : equals], data[equals + 1 : end - 1]
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            before = into.get(b"GNU.sparse.map", b"")
            key, value = b"GNU.sparse.map", before + b"," + value if before else value
        elif key == b"GNU.sparse.numblocks":
            key, value = b"GNU.sparse.map", b""
        into[key] = value
        position = end


def shown_name(entry: Entry) -> str:
    """Return the member's name as it may stand in a message."""
    return shown(os.fsdecode(entry.name))


def _name(block: bytes, fields: tuple[bytes, ...]) -> bytes:
    name = fields[0].partition(b"\0")[0]
    # In GNU's format (magic "ustar  ") the prefix is something else; star keeps two times in its last 24 bytes.
    if fields[7].startswith(b"ustar\0"):
        prefix = fields[11]
        if block[508:] == b"tar\0":
            prefix = prefix[:131]
        prefix = prefix.partition(b"\0")[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _override(entry: Entry, pax: dict[bytes, bytes]) -> None:
    """An empty value takes the record back: what the header says counts."""
    for key, value in pax.items():
        if key.startswith(b"SCHILY.xattr."):
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[key[13:]] = value
        elif not value:
            continue
        elif key == b"mtime":
            entry.mtime = _nanoseconds(value)
        elif key in (b"path", b"GNU.sparse.name"):
            # The name of a sparse file; `path` is then one that is made up for readers that do not know of them.
            if key != b"path" or b"GNU.sparse.name" not in pax:
                entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = _decimal(value)
        elif key == b"uid":
            entry.uid = _decimal(value)
        elif key == b"gid":
            entry.gid = _decimal(value)


def _check(entry: Entry) -> None:
    if len(entry.name) > MAX_NAME or len(entry.link) > MAX_NAME:
        raise Untrusted(f"{shown_name(entry)}: a name of more than {MAX_NAME} bytes")
    if b"\0" in entry.name or b"\0" in entry.link:
        raise Untrusted(f"{shown_name(entry)}: a name with a NUL byte")
    # 4294967295 is -1 to the kernel, "leave it as it is".
    if not 0 <= entry.uid < 0xFFFFFFFF or not 0 <= entry.gid < 0xFFFFFFFF:
        raise Untrusted(f"{shown_name(entry)}: its owner {entry.uid}:{entry.gid} is out of range")
    if not 0 <= entry.size < _MAX_SIZE:
        raise Untrusted(f"{shown_name(entry)}: its size {entry.size} is out of range")


def _number(field: bytes, *, signed: bool = False) -> int:
    """A header's number: octal digits among blanks and NULs, or, where the first bit is set, a binary one (GNU)."""
    digits = field.rstrip(b"\0 ")
    try:
        return int(digits, 8) if digits.isdigit() else _odd_number(field, signed=signed)
    except ValueError:
        raise Untrusted("a header of the layer's tar has a damaged number") from None


def _odd_number(field: bytes, *, signed: bool) -> int:
    if field[0] & 0x80:
        if field[0] == 0xFF and signed:
            return max(int.from_bytes(field, "big", signed=True), -_MAX_SECONDS)
        if field[0] & 0x40:
            raise ValueError
        value = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
        return min(value, _MAX_SECONDS) if signed else value
    digits = field.strip(b" \0").partition(b"\0")[0]
    if digits and not digits.isdigit():
        raise ValueError
    return int(digits or b"0", 8)


def _sums_up(block: bytes, checksum: bytes) -> bool:
    """The sum in full; some very old writers added the bytes as signed ones."""
    total = sum(block) - sum(checksum) + 256
    return _number(checksum) in (total, total - 256 * sum(1 for byte in block[:148] + block[156:] if byte > 127))


def _extent(block: bytes, position: int) -> tuple[int, int]:
    return _number(block[position : position + 12]), _number(block[position + 12 : position + 24])


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise Untrusted(f"an extended header has the number {shown(os.fsdecode(text))}")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    """A time of pax: seconds as a decimal fraction, maybe negative."""
    negative = text.startswith(b"-")
    whole, point, fraction = text[negative:].partition(b".")
    if point and fraction and not fraction.isdigit():
        raise Untrusted(f"an extended header has the time {shown(os.fsdecode(text))}")
    value = min(_decimal(whole), _MAX_SECONDS) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -value if negative else value
