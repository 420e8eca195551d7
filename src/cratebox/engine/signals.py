"""Names and numbers of signals (signal(7)). The module `signal` knows them too, but imports `enum` for 4 ms."""

from __future__ import annotations

from cratebox.engine.words import shown
from cratebox.errors import InvalidValue

# In order: a name's place is its number. x86-64 and arm64 have the same.
NAMES = (
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
    "SYS",
)  # fmt: skip
_OTHER_NAMES = {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
RTMIN, RTMAX = 34, 64  # the C library keeps 32 and 33 for its threads


def parse(text: str) -> int:
    """Return the number of a signal: 15, TERM, SIGTERM, rtmin+3, in any case. Raises InvalidValue for what is no signal."""
    number = _number(text.upper().removeprefix("SIG"))
    if number is None or not 0 < number <= RTMAX:
        raise InvalidValue(f"no such signal: {shown(text)}", "a number from 1 to 64, or a name as TERM, SIGKILL, RTMIN+1")
    return number


def _number(name: str) -> int | None:
    if name in NAMES[1:]:
        return NAMES.index(name)
    if name in _OTHER_NAMES:
        return _OTHER_NAMES[name]
    if name.isascii() and name.isdigit():
        return int(name) if len(name) < 4 else None
    base, step = name[:5], name[5:]
    if base not in ("RTMIN", "RTMAX"):
        return None
    if not step:
        return RTMIN if base == "RTMIN" else RTMAX
    sign, digits = ("+", 1) if base == "RTMIN" else ("-", -1)
    if step[0] != sign or not (step[1:].isascii() and step[1:].isdigit()) or len(step) > 3:
        return None
    number = (RTMIN if base == "RTMIN" else RTMAX) + digits * int(step[1:])
    return number if RTMIN <= number <= RTMAX else None


def name(number: int) -> str:
    """Return the name of a signal: SIGTERM, SIGRTMIN+3; its number for one that has none."""
    if 0 < number < len(NAMES):
        return "SIG" + NAMES[number]
    if RTMIN <= number <= RTMAX:
        return f"SIGRTMIN+{number - RTMIN}" if number > RTMIN else "SIGRTMIN"
    return str(number)
