"""The words of --device, --device-cgroup-rule and --gpus. Pure."""

from __future__ import annotations

import posixpath

from cratebox.cgroup.model import DeviceRule
from cratebox.engine.config import DeviceWish
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue, Unsupported

_ACCESS = frozenset("rwm")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:")
GPU = "nvidia.com/gpu"  # what Docker and Podman mean by --gpus


def parse_device(text: str) -> DeviceWish | str:
    """Return the device of --device PATH[:PATH_INSIDE][:rwm], or the name of a CDI device as it is (VENDOR/CLASS=NAME)."""
    if not text.startswith("/"):
        return check_cdi(text)
    parts = text.split(":")
    access = parts.pop() if len(parts) > 1 and _is_access(parts[-1]) else "rwm"
    source, target = parts[0], parts[1] if len(parts) == 2 else parts[0]
    if len(parts) > 2 or "\0" in text or not target.startswith("/") or ".." in target.split("/"):
        raise InvalidValue(f"--device is PATH, PATH:PATH_INSIDE or PATH:PATH_INSIDE:rwm, not {shown(text)}")
    return DeviceWish(posixpath.normpath(source), posixpath.normpath(target), access)


def _is_access(word: str) -> bool:
    return 0 < len(word) <= 3 and _ACCESS.issuperset(word) and len(set(word)) == len(word)


def check_cdi(text: str) -> str:
    """Return `text` where it is the qualified name of a device: the CDI specification, Kind and Device name."""
    kind, equals, name = text.partition("=")
    vendor, slash, class_ = kind.partition("/")
    words = (vendor, class_, name)
    if not (equals and slash) or not all(word and _NAME.issuperset(word) and word[0].isalnum() for word in words):
        raise InvalidValue(f"not a device: {shown(text)}", "a path as /dev/fuse, or a name of CDI as vendor.com/class=name")
    return text


def parse_rule(text: str) -> DeviceRule:
    """Return the rule of --device-cgroup-rule "c 1:3 rwm"; * is any number."""
    words = text.split(" ")
    numbers = words[1].split(":") if len(words) == 3 else []
    if (
        len(numbers) != 2
        or words[0] not in ("a", "b", "c")
        or not _is_access(words[2])
        or not all(one == "*" or (one.isascii() and one.isdigit() and len(one) < 8) for one in numbers)
    ):
        raise InvalidValue(f"--device-cgroup-rule is TYPE MAJOR:MINOR ACCESS, not {shown(text)}", 'as "c 189:* rwm"')
    major, minor = (None if one == "*" else int(one) for one in numbers)
    return DeviceRule(True, words[0], major, minor, words[2])


def parse_gpus(text: str) -> tuple[str, ...]:
    """Return the CDI devices of --gpus all, a number of them, or device=0,1."""
    word = text.strip('"')
    if word in ("all", "-1"):
        return (f"{GPU}=all",)
    if word.isascii() and word.isdigit() and len(word) < 4:
        return tuple(f"{GPU}={number}" for number in range(int(word)))
    if word.startswith("device="):
        return tuple(check_cdi(f"{GPU}={one}") for one in word[7:].split(","))
    raise Unsupported(
        f"--gpus {shown(text)} is not there", "all, a number, or device=0,1: devices of CDI; --device takes any of them"
    )
