"""A program that is the way outside of one network namespace, as far as pasta and slirp4netns are alike; see usermode.py.

What has to be found when it is to end lies in `state`/networks/outside: OWNER.pid.
"""

from __future__ import annotations

import os
import select

from cratebox.errors import Conflict, CrateError, RuntimeFailure
from cratebox.linux import process
from cratebox.linux.procfs import read_text
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.network.model import Place, Port

SUBNET, DNS = "10.0.2.0/24", "10.0.2.3"
INTERFACE = "tap0"
ADDRESS, GATEWAY, PREFIX = "10.0.2.100", "10.0.2.2", "24"
SECONDS_TO_BEGIN = 30.0
_SECONDS_TO_END = 2.0
_SIGKILL = 9
_PATH = "/usr/local/bin:/usr/bin:/bin"
_SIGNALS = (1, 2, 3, 13, 15, 17)  # SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD


class Way(Record):
    """A program on its way to be the way outside; `pid` is that of who tells whether it is (a child),
    `said` what it says of errors.
    """

    place: Place
    kind: str  # pasta or slirp4netns
    owner: str
    pid: int
    said: int
    ready: int = -1
    ports: tuple[Port, ...] = ()
    ipv6: bool = False


def path_of(name: str) -> str:
    """Return the path of a program, "" where it is not installed."""
    for directory in os.environ.get("PATH", _PATH).split(":"):
        if directory.startswith("/") and os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""


def has_route() -> bool:
    """Tell whether the machine has a default route for IPv4 (proc(5), net/route: interface, destination, ..., mask)."""
    try:
        routes = [line.split() for line in read_text("/proc/net/route").splitlines()[1:]]
    except OSError:
        return True  # it will be seen
    return any(one[1] == one[7] == "00000000" for one in routes)


def directory(place: Place) -> str:
    """Return where is written down which processes are a way outside."""
    return place.state + "/networks/outside"


def spawn(path: str, argv: list[str], actions: list[Any]) -> int:
    """Start it with the signals as a login has them: pasta fails where SIGPIPE is ignored, as an interpreter does."""
    return os.posix_spawn(path, argv, {}, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_SIGNALS)


def streams(said: int, *inherited: int) -> list[Any]:
    """Return what its descriptors are: nothing, nothing, `said`, and those of `inherited`, which are closed in all others."""
    return [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, said, 2),
        *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited),
    ]


def end(place: Place, owner: str) -> None:
    """End the way outside of `owner`. Where there is none, nothing happens."""
    path = f"{directory(place)}/{owner}.pid"
    try:
        pid, *started = map(int, read_text(path).split())
        _kill(pid, owner, started)
    except (OSError, ValueError):
        pass  # there is none, or it has ended
    try:
        os.unlink(path)
    except OSError:
        pass


def pid_of(place: Place, owner: str) -> int:
    """Return the process that is the way outside of `owner`, 0 where there is none, or it has ended."""
    try:
        pid, *started = map(int, read_text(f"{directory(place)}/{owner}.pid").split())
        return pid if _is_his(pid, owner, started) else 0
    except (OSError, ValueError):
        return 0


def owners(place: Place) -> list[str]:
    """Return who has a way outside."""
    try:
        return [name.removesuffix(".pid") for name in os.listdir(directory(place)) if name.endswith(".pid")]
    except OSError:
        return []


def _kill(pid: int, owner: str, started: list[int]) -> None:
    """End `pid` where it still is the owner's, and wait for it."""
    pidfd = os.pidfd_open(pid)
    try:
        if _is_his(pid, owner, started):
            process.send_signal(pidfd, _SIGKILL)
            select.select([pidfd], [], [], _SECONDS_TO_END)
    finally:
        os.close(pidfd)


def _is_his(pid: int, owner: str, started: list[int]) -> bool:
    """Tell whether a process is the owner's: pasta is known by its words, who is written down with his start by that. Raises
    OSError where there is no such process.
    """
    return [process.start_time(pid)] == started if started else f"/{owner}." in read_text(f"/proc/{pid}/cmdline")


def failure(way: Way) -> CrateError:
    """Return the error of a program that has not become the way outside, with what it said."""
    lines = os.pread(way.said, 4096, 0).decode(errors="replace").split("\n")
    words = [one.strip() for one in lines if one.strip() and "syslog" not in one]
    said = words[-1] if words else "it does not say why"
    if "bind" in said.lower():
        return Conflict(f"a port cannot be published: {way.kind} cannot listen on it: {said}", "see ss -lntup")
    hint = None
    if "interface" in said.lower() and not has_route():
        hint = "this machine has no default route: slirp4netns does without, an internal network or --network none as well"
    return RuntimeFailure(f"{way.kind}, the way outside of the container, has failed: {said}", hint)
