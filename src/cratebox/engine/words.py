"""The small words of Docker's command line: yes and no, whole numbers, sizes, durations."""

from __future__ import annotations

from cratebox.errors import InvalidValue

# strconv.ParseBool of Go, which Docker's flags are read with.
_YES = ("1", "t", "T", "true", "TRUE", "True")
_NO = ("0", "f", "F", "false", "FALSE", "False")
_UNITS = "bkmgtp"
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def shown(text: str, limit: int = 100) -> str:
    """Return `text` fit for a message: one line, control characters escaped, quoted where it is empty or has a space."""
    safe = text.encode("unicode_escape").decode("ascii").replace("\\\\", "\\") if not text.isprintable() else text
    safe = safe if len(safe) <= limit else safe[: limit - 3] + "..."
    return safe if safe and " " not in safe else f'"{safe}"'


def boolean(text: str, what: str) -> bool:
    """Return the truth of `text`, which `what` was given. Raises InvalidValue."""
    if text in _YES or text in _NO:
        return text in _YES
    raise InvalidValue(f"{what} is true or false, not {shown(text)}")


def number(text: str, what: str, least: int = 0) -> int:
    """Return `text` as a whole number of at least `least`. Raises InvalidValue."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19 and int(text) >= least:
        return int(text)
    raise InvalidValue(f"{what} is a whole number of at least {least}, not {shown(text)}")


def size(text: str, what: str) -> int:
    """Return the bytes that `text` stands for: 67108864, 64m, 64MB, 64MiB, 1.5g; the units are powers of 1024.

    Raises InvalidValue, also for what does not fit into 63 bits.
    """
    word = text.lower()
    digits = word.rstrip("ib" + _UNITS)
    unit = word[len(digits) :].rstrip()
    power = _UNITS.find(unit[0]) if unit else 0
    plain = unit in ("", "b") or (power > 0 and unit[1:] in ("", "b", "ib"))
    whole, _, fraction = digits.strip().partition(".")
    if (
        not plain
        or not whole.isdigit()
        or not (whole + fraction).isascii()
        or not (fraction or "0").isdigit()
        or len(whole) > 19
    ):
        raise InvalidValue(f"{what} is a size, not {shown(text)}", "write a number of bytes, or 64k, 64m, 1.5g")
    count = int(float(f"{whole}.{fraction}") * 1024**power) if fraction else int(whole) * 1024**power
    if count >= 1 << 63:
        raise InvalidValue(f"{what} is too large: {shown(text)}")
    return count


def duration(text: str, what: str) -> float:
    """Return the seconds that a duration of Go's stands for: 30s, 1m30s, 1.5h, 250ms, 0. Raises InvalidValue."""
    return nanoseconds(text, what) / 1e9


def nanoseconds(text: str, what: str) -> int:
    """Return the nanoseconds that a duration of Go's (time.ParseDuration) stands for. Raises InvalidValue."""
    rest, total = text, 0.0
    while rest and text != "0":
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        rest = rest[len(unit) :]
        if unit not in _NANOSECONDS or number.count(".") > 1 or not number.strip("."):
            total = -1.0
            break
        total += float(number) * _NANOSECONDS[unit]
    if not text or not 0 <= total < 1 << 63:
        raise InvalidValue(f"{what} is a duration, not {shown(text)}", "write a number with its unit: 30s, 1m30s, 500ms")
    return int(total)
