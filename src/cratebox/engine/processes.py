"""The processes of a container as the host sees them, for `top`: read from /proc (proc(5)), never asked of the container."""

from __future__ import annotations

import os
import time

from cratebox.engine import records, states
from cratebox.errors import Conflict, NotFound
from cratebox.linux.procfs import read_text
from cratebox.record import Record
from cratebox.runtime import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cratebox.engine.records import Container
    from cratebox.paths import Paths

_PTS_MAJORS = range(136, 144)
_DAY = 86400


class Running(Record):
    """A process. `user` is a name of the host's, or a number; `started` is in seconds since 1970, `used` in seconds of
    processor time, `share` in whole percent of one processor since it started; `terminal` is "?" for none.
    """

    user: str
    pid: int
    parent: int
    share: int
    started: float
    terminal: str
    used: int
    command: str


def pids(paths: Paths, container: Container) -> Sequence[int]:
    """Return the processes of a container that runs, by the machine's numbers. Raises Conflict where it does not."""
    try:
        return control.processes(paths.running, container.id)
    except (Conflict, NotFound):
        raise states.wrong(records.status(paths, container)) from None


def read(pids: Iterable[int]) -> list[Running]:
    """Return what is known of the processes; those that have ended meanwhile are left out."""
    booted = time.time() - float(read_text("/proc/uptime").split()[0])
    found = []
    for pid in sorted(pids):
        try:
            found.append(_read(pid, booted))
        except OSError:
            continue
    return found


def _read(pid: int, booted: float) -> Running:
    text = read_text(f"/proc/{pid}/stat")
    name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    ticks = os.sysconf("SC_CLK_TCK")
    used = (int(fields[11]) + int(fields[12])) / ticks
    started = booted + int(fields[19]) / ticks
    words = read_text(f"/proc/{pid}/cmdline").rstrip("\0").replace("\0", " ")
    elapsed = time.time() - started
    return Running(
        user=_user(os.stat(f"/proc/{pid}").st_uid),
        pid=pid,
        parent=int(fields[1]),
        share=min(99, int(used * 100 / elapsed)) if elapsed > 0 else 0,
        started=started,
        terminal=_terminal(int(fields[4])),
        used=int(used),
        command=words or f"[{name}]",
    )


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _terminal(device: int) -> str:
    if device == 0:
        return "?"
    return f"pts/{os.minor(device)}" if os.major(device) in _PTS_MAJORS else f"tty{os.minor(device)}"


def start_text(started: float, now: float) -> str:
    """Return STIME as ps prints it: the time of today, else the day, else the year."""
    when, today = time.localtime(started), time.localtime(now)
    if when[:3] == today[:3] or now - started < _DAY:
        return time.strftime("%H:%M", when)
    return time.strftime("%b%d" if when.tm_year == today.tm_year else "%Y", when)


def used_text(seconds: int) -> str:
    """Return TIME as ps prints it."""
    days, rest = divmod(seconds, _DAY)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text
