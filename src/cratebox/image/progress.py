"""Who wants to know how a pull goes, or a push."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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
