"""Who runs crate in a test: root, or an ordinary user who is nobody special."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

ORDINARY = os.environ.get("CRATE_TEST_USER", "crate-test")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def bare() -> dict[str, str]:
    """Return an environment in which a peer finds nothing of whoever runs the tests; a user's has a place for passwords."""
    return {"PATH": PATH, "HOME": "/"} | ({"XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]} if os.geteuid() else {})


@dataclass(frozen=True)
class Person:
    """An account of this machine with directories of its own, made for one test run."""

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def is_root(self) -> bool:
        return self.uid == 0

    @property
    def runtime_dir(self) -> Path:
        return self.home / "run"

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """A login's few variables and nothing of the tests' own; pip's settings and certificates stay."""
        kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_CERT_", "REQUESTS_CA", "CURL_CA"))}
        return (
            kept
            | {
                "HOME": str(self.home),
                "PATH": PATH,
                "USER": self.name,
                "LOGNAME": self.name,
                "LANG": "C.UTF-8",
                "XDG_RUNTIME_DIR": str(self.runtime_dir),
                "TERM": "xterm",
            }
            | (extra or {})
        )

    def identity(self) -> dict[str, object]:
        """Return the arguments that make subprocess start a program as this person."""
        return {} if self.uid == os.geteuid() else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def run(
        self, argv: list[str], *, env: dict[str, str] | None = None, timeout: float = 120, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` as this person in their home, capturing text; do not raise for its exit code."""
        given: dict[str, object] = {
            "cwd": self.home,
            "capture_output": True,
            "text": True,
            "errors": "surrogateescape",
            "stdin": subprocess.DEVNULL,
        }
        return subprocess.run(argv, env=self.environment(env), timeout=timeout, **(given | self.identity() | options))  # type: ignore[call-overload, no-any-return]

    def start(self, argv: list[str], *, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen[bytes]:
        """Start `argv` as this person in their home and return the process."""
        given: dict[str, object] = {"cwd": self.home}
        return subprocess.Popen(argv, env=self.environment(env), **(given | self.identity() | options))  # type: ignore[call-overload, no-any-return]

    def directory(self, path: Path) -> Path:
        """Make `path`, private to this person."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(path, self.uid, self.gid)
        return path


def why_not(name: str) -> str | None:
    """Say why the tests cannot run as `name` ("root" or "user"), or return None."""
    if name == "root":
        return None if os.geteuid() == 0 else "needs root"
    if os.geteuid() != 0:
        return None  # whoever runs the tests is the ordinary user
    try:
        pwd.getpwnam(ORDINARY)
    except KeyError:
        return f"there is no user {ORDINARY}: script/test makes one"
    return None


def person(name: str, home: Path) -> Person:
    """Return root or the ordinary user, with `home` as their home directory (made, theirs)."""
    account = pwd.getpwuid(os.geteuid()) if name == "root" or os.geteuid() else pwd.getpwnam(ORDINARY)
    found = Person(account.pw_name, account.pw_uid, account.pw_gid, home)
    found.directory(home)
    found.directory(found.runtime_dir)
    return found
