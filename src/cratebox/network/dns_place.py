"""Where the resolver of a place is found, and whom it is to answer: STATE/resolver.

door        the socket at which it listens for namespaces
lock        held by whoever starts one, and by one that is about to end
OWNER       a symlink to "PID START BOOT" of the process whose namespace is answered
"""

from __future__ import annotations

import os

from cratebox.linux import door, lock, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from cratebox.network.model import Place

_DOOR = "door"
_MOST_WAITING = 1024


def directory(place: Place) -> str:
    return place.state + "/resolver"


def hold(place: Place) -> int:
    """Take the lock, waiting for it; return its descriptor, for linux/lock.release. Raises OSError."""
    return lock.hold(directory(place) + "/lock")


def try_hold(place: Place) -> int | None:
    """Take the lock, where nobody has it. Raises OSError."""
    return lock.try_hold(directory(place) + "/lock")


def listen(place: Place) -> _socket.socket:
    """Return the socket that listens at the door, in place of one that was left there. Raises OSError."""
    return door.listen(directory(place), _DOOR, _MOST_WAITING)


def connect(place: Place) -> _socket.socket | None:
    """Return a socket at whose other end is the resolver; None where there is none. Raises OSError."""
    try:
        return door.connect(directory(place), _DOOR)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def door_file(place: Place) -> tuple[int, int]:
    """Return what tells this door from a later one at the same place; zeros where there is none."""
    try:
        found = os.lstat(f"{directory(place)}/{_DOOR}")
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def remove_door(place: Place, which: tuple[int, int]) -> None:
    """Nobody is to come any more; where there is another door by now (the directory was deleted), it stays.
    The caller has the lock.
    """
    if door_file(place) == which != (0, 0):
        os.unlink(f"{directory(place)}/{_DOOR}")


def write_down(place: Place, owner: str, pid: int) -> None:
    """Note that the network namespace of process `pid` is `owner`'s, and to be answered. Raises OSError."""
    path = f"{directory(place)}/{owner}"
    words = _identity(pid)
    try:
        os.symlink(words, path)
    except FileExistsError:
        os.unlink(path)
        os.symlink(words, path)


def is_written(place: Place, owner: str, pid: int) -> bool:
    """Tell whether that was noted of this very process."""
    try:
        return os.readlink(f"{directory(place)}/{owner}") == _identity(pid)
    except OSError:
        return False


def written(place: Place) -> dict[str, int]:
    """Return the pid of each owner whose process is alive; forget the others."""
    found = {}
    boot = process.boot_id()
    try:
        names = os.listdir(directory(place))
    except FileNotFoundError:
        return {}
    for owner in names:
        try:
            pid, started, when = os.readlink(f"{directory(place)}/{owner}").split()
        except (OSError, ValueError):
            continue  # the door, the lock; or taken away just now
        if when == boot and process.start_time(int(pid)) == int(started):
            found[owner] = int(pid)
        else:
            forget(place, owner, int(pid))
    return found


def forget(place: Place, owner: str, pid: int) -> None:
    """Take away what was noted of `owner`, where it is still that process."""
    path = f"{directory(place)}/{owner}"
    try:
        if os.readlink(path).startswith(f"{pid} "):
            os.unlink(path)
    except OSError:
        pass


def _identity(pid: int) -> str:
    return f"{pid} {process.start_time(pid)} {process.boot_id()}"
