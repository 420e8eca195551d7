"""The words of --security-opt: Docker's, and Podman's mask and unmask."""

from __future__ import annotations

from cratebox.engine.words import boolean, shown
from cratebox.errors import InvalidValue, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_KNOWN = "no-new-privileges, seccomp=unconfined, seccomp=FILE, apparmor=PROFILE, systempaths=unconfined, mask=PATH, unmask=PATH or unmask=ALL"


def parse_security_opt(texts: Iterable[str], cwd: str) -> dict[str, Any]:
    """Return the fields of ContainerConfig that the words of --security-opt give; a profile's path is made absolute from `cwd`.

    `label=disable` and `apparmor=unconfined` are what crate does anyway, so they are let through.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=" if "=" in text else ":")
        if key == "no-new-privileges":
            found["no_new_privileges"] = boolean(value, "--security-opt no-new-privileges") if separator else True
        elif key == "seccomp" and value:
            found["seccomp"] = _seccomp(value, cwd)
        elif key == "apparmor" and value:
            found["apparmor"] = "" if value == "unconfined" else value
        elif (key, value) == ("systempaths", "unconfined"):
            found["unmasked"] = ("ALL",)
        elif key == "mask" and value:
            found["masked"] = (*found.get("masked", ()), *_paths(text, value))
        elif key == "unmask" and value:
            found["unmasked"] = (*found.get("unmasked", ()), *(("ALL",) if value == "ALL" else _paths(text, value)))
        elif (key, value) != ("label", "disable"):
            raise Unsupported(f"no such security option: {shown(text)}", _KNOWN)
    return found


def _paths(text: str, value: str) -> tuple[str, ...]:
    paths = tuple(value.split(":"))
    for path in paths:
        if not path.startswith("/") or "\0" in path or ".." in path.split("/") or path.strip("/") == "":
            raise InvalidValue(f"--security-opt {shown(text)}: {shown(path)} is no absolute path")
    return tuple(path.rstrip("/") for path in paths)


def _seccomp(value: str, cwd: str) -> str:
    if value in ("default", "builtin"):
        return "default"
    return value if value == "unconfined" or value.startswith("/") else f"{cwd}/{value}"
