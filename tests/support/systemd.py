"""The systemd of whoever runs the tests: the machine's for root, that of the session for an ordinary user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def session() -> dict[str, str]:
    """Return the variable by which a user's programs find their systemd."""
    return {} if os.geteuid() == 0 else {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"}


def systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    """Ask the manager of whoever runs the tests."""
    whose = [] if os.geteuid() == 0 else ["--user"]
    environment = os.environ | session()
    return subprocess.run(["systemctl", *whose, *words], capture_output=True, text=True, timeout=120, env=environment)


def units() -> Path:
    """Return where units lie that are gone after a reboot (systemd.unit(5), Unit File Load Path)."""
    return Path("/run/systemd/system" if os.geteuid() == 0 else f"/run/user/{os.geteuid()}/systemd/user")
