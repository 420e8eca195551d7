"""The words of --ulimit: limits of setrlimit(2)."""

from __future__ import annotations

from cratebox.engine.config import Ulimit, nearest
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue

ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
)  # fmt: skip


def parse_ulimit(text: str) -> Ulimit:
    """Return the limit of `--ulimit NAME=SOFT[:HARD]`; -1 or `unlimited` is no limit."""
    name, equals, values = text.partition("=")
    if name not in ULIMITS:
        raise InvalidValue(f"no such limit: {shown(name)}", nearest(name, ULIMITS) or "one of " + ", ".join(ULIMITS))
    soft, colon, hard = values.partition(":")
    limit = Ulimit(name=name, soft=_limit(text, soft), hard=_limit(text, hard if colon else soft))
    if not equals or (limit.hard != -1 and not -1 < limit.soft <= limit.hard):
        raise InvalidValue(f"not a limit: {shown(text)}: the soft limit is above the hard one", "write NAME=SOFT:HARD")
    return limit


def _limit(text: str, word: str) -> int:
    if word in ("-1", "unlimited"):
        return -1
    if not (word.isascii() and word.isdigit()) or int(word) >= 1 << 63:
        raise InvalidValue(f"not a limit: {shown(text)}: {shown(word)} is no number", "write NAME=SOFT[:HARD], -1 for no limit")
    return int(word)
