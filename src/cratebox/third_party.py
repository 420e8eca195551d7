"""Puts the libraries crate depends on within reach, when a command needs them; and how a command is started anew.

The launcher starts the interpreter with -S: reading site-packages and its .pth files costs 2-3 ms that `run` has no use
for. Who imports urllib3, isal, zstandard or rich calls `add_site_packages()` first.
"""

from __future__ import annotations

import os
import sys

_done = False


def add_site_packages() -> None:
    """Append the directories of the interpreter's libraries to sys.path, once; nothing where `site` has done it already.

    They are those beside the package or its .pth file, and outside of a virtual environment the system's too. A user's
    ~/.local counts only where crate itself is installed there: root must not import what another user wrote.
    """
    global _done  # noqa: PLW0603  sys.path is one for the process too
    if _done or not sys.flags.no_site:
        return
    _done = True
    for directory in _directories():
        if directory not in sys.path and os.path.isdir(directory):
            sys.path.append(directory)


def program(command: str) -> list[str]:
    """Return the words by which this interpreter is started anew, as the launcher does, on a command of _entry.py's."""
    site = sys._xoptions.get("cratebox-site")  # noqa: SLF001
    interpreter = [sys.executable, "-I", "-S", *(["-X", f"cratebox-site={site}"] if isinstance(site, str) else [])]
    return [*interpreter, sys.modules["cratebox"].__path__[0] + "/_entry.py", command]


def _directories() -> list[str]:
    site = sys._xoptions.get("cratebox-site")  # noqa: SLF001  the launcher's word for where an editable installation lives
    beside = os.path.realpath(site) if isinstance(site, str) else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = os.path.dirname(os.path.dirname(os.path.dirname(beside)))  # ENVIRONMENT/lib/python3.X/site-packages
    if _is_closed(environment):
        return [beside]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [beside, f"{sys.prefix}/lib/{version}/site-packages"]
    if sys.prefix == "/usr":  # Debian's own interpreter has its own places
        found += [f"/usr/local/lib/{version}/dist-packages", "/usr/lib/python3/dist-packages"]
    return found


def _is_closed(environment: str) -> bool:
    """Say whether `environment` is a virtual environment that does not want the system's libraries (PEP 405)."""
    try:
        with open(environment + "/pyvenv.cfg", encoding="utf-8", errors="replace") as settings:
            words = settings.read().lower().split()
    except OSError:
        return False
    wanted = "include-system-site-packages"
    return not (wanted in words and words[words.index(wanted) + 1 :][:2] == ["=", "true"])
