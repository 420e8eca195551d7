"""A record as a file of JSON: replaced whole or not at all, and distrusted when it is read."""

from __future__ import annotations

import os

from cratebox import document, jsontext
from cratebox.errors import InvalidValue, StorageError
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    R = TypeVar("R", bound=Record)


_USUAL, _MOST = 1 << 16, 1 << 24  # bytes


def write(path: str, value: Record, durable: bool = False, first: Callable[[], None] | None = None) -> None:
    """Replace the file `path` by `value` as JSON, whole or not at all; `durable`: also after a power failure. Raises OSError.

    `first` is done when nothing can keep the file from being replaced any more; what it raises leaves the old one.
    """
    temporary = f"{path}.{os.getpid()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            rest = jsontext.dumps(document.encode(value)).encode()
            while rest:
                rest = rest[os.write(fd, rest) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        if first:
            first()
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: str, kind: type[R], hint: str = "") -> R | None:
    """Return the record in the file `path`, None where there is none. Raises StorageError where it is damaged.

    The `hint` says what to do then, where the record is not one of a container's.
    """
    try:
        raw = _content(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    try:
        return document.decode(kind, jsontext.loads(raw), "the record")
    except (jsontext.JSONError, InvalidValue) as error:
        raise StorageError(
            f"damaged: {path}: {error}",
            hint or f"crate rm -f {os.path.basename(os.path.dirname(path))[:12]} removes the container",
        ) from None


def _content(path: str) -> bytes:
    """Without a file object, which takes longer to make than the file to read: `ps` reads hundreds.
    A FIFO is not waited for.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        raw = part = os.read(fd, _USUAL)
        while len(part) == _USUAL and len(raw) < _MOST:
            part = os.read(fd, _USUAL)
            raw += part
        return raw
    finally:
        os.close(fd)
