"""Digests: the only names of content that are ever turned into file names, hence a strict grammar.

Format: OCI image-spec, descriptor.md, "Digests". Of the algorithms it registers, sha256 and sha512 are known here.
"""

from __future__ import annotations

from cratebox.errors import Untrusted
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


def check(text: object) -> str:
    """Return `text` where it is `sha256:` and 64 or `sha512:` and 128 lower-case hexadecimal digits.

    Raises Untrusted for anything else: a digest such as `sha256:../../x` would become a path.
    """
    if isinstance(text, str):
        algorithm, _, digits = text.partition(":")
        if len(digits) == HEX_LENGTH.get(algorithm) and _HEX.issuperset(digits):
            return text
    raise Untrusted(f"not a digest: {shown(text)}", "a digest is sha256: and 64 hexadecimal digits")


def is_digest(text: object) -> bool:
    """Return whether `check` would accept `text`."""
    try:
        check(text)
    except Untrusted:
        return False
    return True


def split(digest: str) -> tuple[str, str]:
    """Return algorithm and digits of a digest. Raises Untrusted."""
    algorithm, _, digits = check(digest).partition(":")
    return algorithm, digits


def blob_name(digest: str) -> str:
    """Return the name of the file that is a blob, below the directory of an OCI layout (image-layout.md). Raises Untrusted."""
    algorithm, digits = split(digest)
    return f"blobs/{algorithm}/{digits}"


def hasher(digest: str) -> Any:
    """Return a new hash object (update, hexdigest) of the algorithm that `digest` names. Raises Untrusted."""
    return new(split(digest)[0])


def new(algorithm: str) -> Any:
    """Return a new hash object of "sha256" or "sha512"."""
    import hashlib

    return hashlib.new(algorithm)


def of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `content`."""
    state = new(algorithm)
    state.update(content)
    return f"{algorithm}:{state.hexdigest()}"


def verify(content: bytes, digest: str, what: str) -> None:
    """Raise Untrusted where `digest` is not that of `content`; `what` names it in the message."""
    state = hasher(digest)
    state.update(content)
    check_hash(state, digest, what)


def check_hash(state: Any, digest: str, what: str) -> None:
    """Raise Untrusted where `digest` is not that of all that the hash object `state` was given;
    `what` names it in the message.
    """
    found = f"{split(digest)[0]}:{state.hexdigest()}"
    if found != digest:
        raise Untrusted(f"{what} is not what its digest says: expected {digest}, got {found}")
