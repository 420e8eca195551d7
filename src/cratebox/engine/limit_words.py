"""The words of the flags that limit a container, each by itself: limits.py says what they must be together. Pure."""

from __future__ import annotations

from cratebox.engine.config import DeviceLimit
from cratebox.engine.words import number, shown, size
from cratebox.errors import InvalidValue

_NANO = 9  # digits after the point of --cpus
_MOST_CPUS = 8192  # CONFIG_NR_CPUS of the largest kernels


def memory(text: str, flag: str, unlimited: bool = False) -> int | None:
    """Return bytes, None for 0, which is no limit; with `unlimited`, -1 is one that is taken away."""
    if unlimited and text == "-1":
        return -1
    return size(text, flag) or None


def nano_cpus(text: str) -> int | None:
    """Return the billionths of a processor that --cpus gives ("1.5"); None for 0.
    As Docker's, no more than nine digits count.
    """
    whole, _, fraction = text.partition(".")
    digits = (whole or "0") + fraction
    if not (digits.isascii() and digits.isdigit()) or len(whole) > 5 or len(fraction) > _NANO or not (whole + fraction):
        raise InvalidValue(
            f"--cpus is a number of processors, not {shown(text)}", "write 2, or 0.5; at most nine digits after the point"
        )
    return int((whole or "0") + fraction.ljust(_NANO, "0")) or None


def positive(text: str, flag: str) -> int | None:
    """Return a whole number, None for 0."""
    return number(text, flag) or None


def ranged(text: str, flag: str, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19 and least <= int(text) <= most):
        raise InvalidValue(f"{flag} is a whole number from {least} to {most}, not {shown(text)}")
    return int(text)


def quota(text: str) -> int | None:
    """Return microseconds in each period; -1 is no limit, and 0 is none that was said."""
    return number(text, "--cpu-quota", -1) or None


def weight(text: str, flag: str) -> int | None:
    """Return a weight of disks, None for 0."""
    return None if text == "0" else ranged(text, flag, 10, 1000)


def pids(text: str) -> int:
    """Return a number of processes; 0 is no limit, as -1 is."""
    return number(text, "--pids-limit", -1) or -1


def numbers(text: str, flag: str) -> frozenset[int]:
    """Return the processors or memory nodes of a list as in "0-2,7" (cpuset(7), List format)."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and int(end) < _MOST_CPUS for end in ends) or int(ends[0]) > int(ends[1]):
            raise InvalidValue(f"{flag} is a list like 0-2,4, not {shown(text)}")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    return frozenset(found)


def device_weight(text: str) -> DeviceLimit:
    """Return the disk and the weight of --blkio-weight-device PATH:WEIGHT."""
    path, word = _disk(text, "--blkio-weight-device", "WEIGHT")
    return DeviceLimit(path, ranged(word, "--blkio-weight-device", 10, 1000))


def device_rate(text: str, flag: str) -> DeviceLimit:
    """Return the disk and the rate of PATH:RATE: bytes a second with a unit, as 1mb, or operations a second."""
    path, word = _disk(text, flag, "RATE")
    rate = size(word, flag) if flag.endswith("bps") else number(word, flag)
    if not rate:
        raise InvalidValue(f"{flag}: a rate of 0 would be none at all: {shown(text)}", "write what it may do in a second")
    return DeviceLimit(path, rate)


def _disk(text: str, flag: str, what: str) -> tuple[str, str]:
    path, colon, word = text.rpartition(":")
    if not colon or not path.startswith("/dev/") or "\0" in path or "/../" in path:
        raise InvalidValue(f"{flag} is PATH:{what}, not {shown(text)}", f"PATH is the disk's node: /dev/sda:{what}")
    return path, word


def unified(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Return the files and values of all --cgroup-conf FILE=VALUE; None where there are none."""
    found = {}
    for text in texts:
        file, equals, value = text.partition("=")
        if not equals or not file:
            raise InvalidValue(
                f"--cgroup-conf is FILE=VALUE, not {shown(text)}", "a file of cgroup v2, as memory.high=64000000"
            )
        found[file] = value
    return found or None
