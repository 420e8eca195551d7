"""Who wants to know how a pull goes, or a push."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    class Progress(Protocol):
        """What a pull calls, from one thread. Sizes are of compressed bytes."""

        def layer(self, digest: str, total_bytes: int) -> None:
            """A layer of `total_bytes` is about to be fetched."""

        def advance(self, digest: str, n_bytes: int) -> None:
            """`n_bytes` more of it have come."""

        def done(self, digest: str, note: str) -> None:
            """It is there; `note` says how ("done", "already exists")."""

        def message(self, text: str) -> None:
            """Say one line."""

        def close(self) -> None:
            """Say nothing more, and leave a terminal as it was found. It is called by who made it, after the pull."""


_EVERY = 0.1  # seconds


def counted(chunks: Iterable[bytes], tell: Callable[[int], None]) -> Iterator[bytes]:
    """Yield `chunks`, and tell how many bytes more have come, ten times a second."""
    count, told = 0, time.monotonic()
    for chunk in chunks:
        count += len(chunk)
        now = time.monotonic()
        if now - told > _EVERY:
            tell(count)
            count, told = 0, now
        yield chunk
    tell(count)


class Silent:
    """The progress of a caller who does not want to know."""

    def layer(self, digest: str, total_bytes: int) -> None:
        """Ignore it."""

    def advance(self, digest: str, n_bytes: int) -> None:
        """Ignore it."""

    def done(self, digest: str, note: str) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""

    def close(self) -> None:
        """There is nothing to do."""
