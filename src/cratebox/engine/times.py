"""Moments as people type them after --since and --until (Docker's: api/types/time)."""

from __future__ import annotations

import time

from cratebox.engine.words import nanoseconds, shown
from cratebox.errors import InvalidValue

_SECOND = 1_000_000_000
_HINT = "write 10m (ago), 2026-01-31T12:00:00Z, 2026-01-31, or seconds since 1970"


def moment(text: str, flag: str) -> int:
    """Return nanoseconds since 1970 for a time (RFC 3339, or less of it in local time), seconds since 1970, or how long ago.

    Raises InvalidValue.
    """
    if text == "0":
        return 0  # 1970, not now: with `--since 0` scripts mean everything
    try:
        return time.time_ns() - nanoseconds(text, flag)
    except InvalidValue:
        pass
    whole, _, fraction = text.partition(".")
    if (whole + fraction).isdecimal() and whole and len(whole) < 12:
        return int(whole) * _SECOND + int(fraction[:9].ljust(9, "0"))
    found = _date(text)
    if found is None:
        raise InvalidValue(f"--{flag} is a time, not {shown(text)}", _HINT)
    return found


def _date(text: str) -> int | None:
    """As Go writes and Docker reads it: nanoseconds, and less than a full date and time; without a zone it is local time."""
    from datetime import datetime

    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    if dot and not digits:
        return None
    try:
        when = datetime.fromisoformat(head + tail[len(digits) :])
        return int(when.timestamp()) * _SECOND + int((digits or "0")[:9].ljust(9, "0"))
    except (ValueError, OverflowError, OSError):
        return None
