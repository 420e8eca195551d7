"""The host's own ps, told of a container's processes alone. No program of the container is run (CVE-2022-1227)."""

from __future__ import annotations

from cratebox.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Columns in which no process can put a space, and so none can pretend that a word of its own is the PID behind them.
_PLAIN = frozenset((
    "F", "S", "STAT", "STATE", "UID", "USER", "EUID", "EUSER", "RUID", "RUSER", "SUID", "SUSER", "FUID", "FUSER", "GID", "GROUP", "EGID",
    "EGROUP", "RGID", "RGROUP", "PPID", "PGID", "PGRP", "SID", "SESS", "TPGID", "TGID", "LWP", "SPID", "TID", "NLWP", "THCNT", "TTY", "TT",
    "C", "CP", "CLS", "POL", "PRI", "NI", "PSR", "SZ", "VSZ", "RSS", "RSZ", "SIZE", "TIME", "ELAPSED", "%CPU", "%MEM", "ADDR", "NS",
))  # fmt: skip


def lines_of(pids: Iterable[int], options: list[str], otherwise: str) -> list[str]:
    """Return what ps prints with these options: its header, and the lines of `pids`.
    `otherwise` is the hint where it is missing.

    Raises RuntimeFailure.
    """
    head, *lines = _ps(options, otherwise).splitlines() or [""]
    column = _column(head)
    ours = {str(pid) for pid in pids}
    return [head, *(line for line in lines if len(cells := line.split()) > column and cells[column] in ours)]


def _ps(options: list[str], otherwise: str) -> str:
    import os
    import shutil
    import subprocess

    program = shutil.which("ps", path=os.environ.get("PATH") or _PATH) or shutil.which("ps", path=_PATH)
    if program is None:
        raise RuntimeFailure("there is no ps on this machine", f"install procps, or {otherwise}")
    done = subprocess.run([program, *options], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeFailure(f"{program} ended with {done.returncode}: {said[0] if said else 'no word'}")
    return done.stdout.decode(errors="surrogateescape")


def _column(head: str) -> int:
    names = head.split()
    if "PID" not in names:
        raise RuntimeFailure("ps prints no column PID with these options: the container's processes cannot be told")
    column = names.index("PID")
    for name in names[:column]:
        if name not in _PLAIN:
            raise RuntimeFailure(
                f"the column {name} stands before PID: what a process has put there could be taken for a PID", "put pid first"
            )
    return column
