"""What a pull or a push shows: a bar for each layer on a terminal, plain lines elsewhere, nothing where it shall be quiet.

All three are an `image.progress.Progress`.
"""

from __future__ import annotations

import sys

from cratebox.cli.render import short_id
from cratebox.image.progress import Silent
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from cratebox.image.progress import Progress


class Lines(Silent):
    """Says a line when a layer begins and one when it is there, as Docker does where no terminal is."""

    def __init__(self, stream: TextIO, doing: str = "Pulling") -> None:
        self._stream, self._doing = stream, doing
        self._begun: set[str] = set()

    def layer(self, digest: str, total_bytes: int) -> None:  # noqa: ARG002  the protocol's
        if digest not in self._begun:
            self._begun.add(digest)
            self.message(f"{short_id(digest)}: {self._doing}")

    def done(self, digest: str, note: str) -> None:
        self.message(f"{short_id(digest)}: {note}")

    def message(self, text: str) -> None:
        # One write a line: layers are fetched side by side.
        self._stream.write(safe(text) + "\n")
        self._stream.flush()


def choose(quiet: bool, to_stdout: bool = False, doing: str = "Pulling") -> Progress:
    """Return the progress that fits: `run` and `create` keep standard output for what they are asked for."""
    stream = sys.stdout if to_stdout else sys.stderr
    if quiet:
        return Silent()
    if not (stream.isatty() and _has_rich()):
        return Lines(stream, doing)
    from cratebox.cli.bars import Bars

    return Bars(stream, doing)


def _has_rich() -> bool:
    """Without rich a pull still works, and says lines."""
    from cratebox.third_party import add_site_packages

    add_site_packages()
    from importlib.util import find_spec

    return find_spec("rich") is not None
