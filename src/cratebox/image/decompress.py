"""The bytes inside of a layer's blob: gzip, zstd or plain, as a stream of chunks of bounded size.
Archives may be xz or bzip2 as well.

The first bytes decide, as everywhere in this trade: tools that write layers get the media type wrong, and the diff ID is
checked in the end. RFC 1952 (gzip, members may follow each other), RFC 8878 (zstd frames likewise).
"""

from __future__ import annotations

from cratebox.errors import Unsupported, Untrusted
from cratebox.image import manifest as manifests
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol

    class Readable(Protocol):
        """What has bytes to read; b"" is the end."""

        def read(self, size: int, /) -> bytes: ...


_INPUT = 256 << 10  # bytes read at a time
OUTPUT = 1 << 20  # bytes in a chunk, at most
HEAD = 10  # bytes that tell how a stream is compressed
# What `zstd -d` itself accepts without being asked: a frame decides how much memory its reader needs.
_ZSTD_WINDOW = 128 << 20
_XZ_MEMORY = 128 << 20  # bytes; `xz -9` wants 65 MiB of its reader

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz"}
_BZIP2, _BZIP2_BLOCKS = b"BZh", (b"1AY&SY", b"\x17rE8P\x90")  # a plain tar may begin with a file of the name BZh...
_LAYER_TYPES = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.", "application/x-tar")


def chunks(stream: Readable | Iterable[bytes], media_type: str) -> Iterator[bytes]:
    """Yield the uncompressed bytes of `stream`, at most 1 MiB at a time.

    Raises Unsupported for a media type that is no layer's (an encrypted one, an artifact), Untrusted for damaged bytes.
    """
    check_type(media_type)
    source = pieces(stream)
    head = b""
    while len(head) < HEAD:
        piece = next(source, b"")
        if not piece:
            break
        head += piece
    match compression(head):
        case "gzip":
            yield from _inflate(head, source, "gzip", *_inflater())
        case "xz":
            yield from _inflate(head, source, "xz", *_xz())
        case "bzip2":
            yield from _inflate(head, source, "bzip2", *_bzip2())
        case "zstd":
            yield from _unzstd(head, source)
        case _:
            yield from _plain(head, source)


def check_type(media_type: str) -> None:
    """Raise Unsupported for a media type whose bytes crate does not unpack; an empty one says nothing against it."""
    manifests.check_distributable(media_type)
    if media_type and ("encrypted" in media_type or not media_type.startswith(_LAYER_TYPES)):
        raise Unsupported(f"a layer of type {shown(media_type)}: crate unpacks tar, tar+gzip and tar+zstd")


def pieces(stream: Readable | Iterable[bytes]) -> Iterator[bytes]:
    """Yield what `stream` holds: it has `read`, or it is itself an iterable of bytes."""
    read = getattr(stream, "read", None)
    if read is None:
        yield from (piece for piece in stream if piece)  # type: ignore[union-attr]
        return
    while piece := read(_INPUT):
        yield piece


def compression(head: bytes) -> str:
    """Tell how a stream that begins so (`HEAD` bytes are enough) is compressed: gzip, zstd, xz, bzip2, or "" for not at all."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if _is_bzip2(head):
        return "bzip2"
    return "zstd" if _is_skippable(head) else ""


def _is_bzip2(head: bytes) -> bool:
    """What follows the magic is the size of blocks, a digit, and the first block's own magic, or that of the end."""
    return head.startswith(_BZIP2) and head[4:10] in _BZIP2_BLOCKS


def _is_skippable(head: bytes) -> bool:
    """Frames of this kind, in zstd, carry notes (a table of contents, padding) and may come first."""
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50


def _plain(head: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    for piece in _with(head, source):
        for start in range(0, len(piece), OUTPUT):
            yield piece if len(piece) <= OUTPUT else piece[start : start + OUTPUT]


def _with(head: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from source


def _inflate(pending: bytes, source: Iterator[bytes], kind: str, make: Any, failures: Any) -> Iterator[bytes]:
    """Inflate with what `make` makes: streams may follow each other, in all of these formats."""
    while pending:
        inflater = make()
        while not inflater.eof:
            data = b""
            if inflater.needs_input:
                data, pending = pending or next(source, b""), b""
                if not data:
                    raise Untrusted(f"the layer's {kind} stream is cut short")
            try:
                output = inflater.decompress(data, OUTPUT)
            except failures as error:
                raise Untrusted(f"the layer's {kind} stream is damaged: {error}") from None
            if output:
                yield output
        # Another one may follow. Zeros are the padding of a tape or of a block device, as gzip itself takes them.
        pending = inflater.unused_data.lstrip(b"\0")
        while not pending and (data := next(source, b"")):
            pending = data.lstrip(b"\0")


def prepare() -> None:
    """Import what inflates most layers, before many processes would each do it."""
    _inflater()


def _inflater() -> tuple[Any, Any]:
    """Return what makes an inflater, and what it raises. isal needs 0.6 of zlib's time; it is not built for every machine."""
    try:
        from isal import igzip_lib
    except ImportError:
        import zlib

        return _Zlib, (zlib.error,)
    return (lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)), (igzip_lib.IsalError,)


def _xz() -> tuple[Any, Any]:
    try:
        import lzma
    except ImportError:
        raise Unsupported("an archive compressed with xz: this Python was built without lzma", "xz -dc, and a pipe") from None
    return (lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)), (lzma.LZMAError,)


def _bzip2() -> tuple[Any, Any]:
    try:
        import bz2
    except ImportError:
        raise Unsupported(
            "an archive compressed with bzip2: this Python was built without bz2", "bzip2 -dc, and a pipe"
        ) from None
    return bz2.BZ2Decompressor, (OSError,)


class _Zlib:
    """zlib's inflater with the interface of isal's (and of bz2's and lzma's)."""

    def __init__(self) -> None:
        import zlib

        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, limit)


class _Pieces:
    """A stream with `read` from pieces, whatever their size."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source

    def read(self, _size: int) -> bytes:
        return next(self._source, b"")


def _unzstd(head: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise Unsupported("a layer compressed with zstd needs the Python package zstandard", "pip install zstandard") from None
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    compressed: Any = _Pieces(_with(head, source))
    reader = decompressor.stream_reader(compressed, read_size=_INPUT, read_across_frames=True)
    try:
        while output := reader.read(OUTPUT):
            yield output
    except zstandard.ZstdError as error:
        raise Untrusted(f"the layer's zstd stream is damaged: {error}") from None
