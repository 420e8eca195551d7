"""The words of --security-opt."""

from __future__ import annotations

from cratebox.engine.words import boolean, shown
from cratebox.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def parse_security_opt(texts: Iterable[str], cwd: str) -> tuple[bool, str]:
    """Return (no_new_privileges, seccomp) of all --security-opt words; a profile's path is made absolute from `cwd`.

    `label=disable` and `apparmor=unconfined` are what crate does anyway, so they are let through.
    """
    no_new_privileges, seccomp = False, "default"
    for text in texts:
        key, separator, value = text.partition("=" if "=" in text else ":")
        if key == "no-new-privileges":
            no_new_privileges = boolean(value, "--security-opt no-new-privileges") if separator else True
        elif key == "seccomp" and value:
            seccomp = _seccomp(value, cwd)
        elif (key, value) not in (("label", "disable"), ("apparmor", "unconfined")):
            raise Unsupported(
                f"no such security option: {shown(text)}", "no-new-privileges, seccomp=unconfined or seccomp=FILE"
            )
    return no_new_privileges, seccomp


def _seccomp(value: str, cwd: str) -> str:
    if value in ("default", "builtin"):
        return "default"
    return value if value == "unconfined" or value.startswith("/") else f"{cwd}/{value}"
