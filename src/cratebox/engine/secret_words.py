"""The words of --secret NAME[,type=mount|env,target=...,uid=,gid=,mode=]. Pure; Podman's."""

from __future__ import annotations

from cratebox.engine.config import SecretWish
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue

_KEYS = ("source", "type", "target", "uid", "gid", "mode")
_HINT = "NAME[,type=mount|env][,target=PATH or VARIABLE][,uid=N,gid=N,mode=0400]"


def parse(text: str) -> SecretWish:
    """Return what a container wants of a secret; without a target it is empty."""
    first, *rest = text.split(",")
    words = rest if "=" not in first else [first, *rest]
    given = {"source": first} if "=" not in first else {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in _KEYS or not equals or not value or key in given:
            raise InvalidValue(f"--secret {shown(text)}: {shown(word)} is none of its options", _HINT)
        given[key] = value
    kind, target = given.get("type", "mount"), given.get("target", "")
    if not given.get("source") or kind not in ("mount", "env"):
        raise InvalidValue(f"not a secret: {shown(text)}", _HINT)
    if kind == "env" and (set(given) & {"uid", "gid", "mode"} or "=" in target or "\0" in target):
        raise InvalidValue(f"--secret {shown(text)}: a variable has no owner and no mode", _HINT)
    return SecretWish(
        name=given["source"],
        kind=kind,
        target=_place(text, target) if kind == "mount" else target,
        uid=_number(text, given.get("uid", "0"), 10),
        gid=_number(text, given.get("gid", "0"), 10),
        mode=_number(text, given.get("mode", "0444"), 8),
    )


def _place(text: str, target: str) -> str:
    if "\0" in target or ".." in target.split("/") or target.endswith("/"):
        raise InvalidValue(f"--secret {shown(text)}: the target is no path of a file")
    return target if not target or target.startswith("/") else f"/run/secrets/{target}"


def _number(text: str, word: str, base: int) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    most = 0o777 if base == 8 else 2**31 - 1
    if not set(word) <= set(digits) or len(word) > 10 or int(word, base) > most:
        raise InvalidValue(f"--secret {shown(text)}: {shown(word)} is no {'mode' if base == 8 else 'ID'}", _HINT)
    return int(word, base)
