"""What has happened to containers and images, kept for `crate events`:
there is no daemon that could tell, so it is written down.

    ROOT/events/journal      one event a line
    ROOT/events/journal.1    the older ones, once the journal has grown to its bound

A line is a part of what Docker's API calls an event, in ASCII:

    {"timeNano":1769860800123456789,"Type":"container","Action":"die","ID":"...","Attributes":{"name":"web","exitCode":"0"}}

Each command and each supervisor appends its own, with one write(2), which keeps the lines of many writers apart. A line begins
with an end of line: where a writer before was killed within its write, or the disk was full, its half is nobody else's harm.

Whoever makes the journal the old one holds its flock(2) alone, whoever writes shares it: so a line is never added to a file
that a follower has read to its end. event_log.py reads it.
"""

from __future__ import annotations

import fcntl
import os
import time

from cratebox import jsontext
from cratebox.errors import CrateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cratebox.engine.records import Container
    from cratebox.paths import Paths

MOST = 4 << 20  # bytes of a journal; there are two
_LONGEST = 4096  # characters of any text in an event
_MOST_LABELS = 16384  # characters of all labels in one: an image may bring any number of any length
_ATTEMPTS = 5


def emit(paths: Paths, kind: str, action: str, identity: str, attributes: Mapping[str, str]) -> None:
    """Write down that `action` (as Docker names it) happened to `identity`, a container, an image or a volume as `kind` says.

    It raises nothing: what happened has happened, also where it cannot be written down (a full disk, a read-only one).
    """
    event = {
        "timeNano": time.time_ns(),
        "Type": kind,
        "Action": action[:_LONGEST],
        "ID": identity[:_LONGEST],
        "Attributes": {name: value[:_LONGEST] for name, value in attributes.items()},
    }
    try:
        _append(paths.root + "/events", b"\n%b\n" % jsontext.dumps(event).encode())
    except OSError:
        pass


def of_container(container: Container) -> dict[str, str]:
    """Return the attributes of a container's events: its labels, as far as they are reasonable, its image and its name."""
    labels = {**container.defaults.labels, **container.config.labels}
    room, kept = _MOST_LABELS, {}
    for name, value in labels.items():
        room -= len(name) + min(len(value), _LONGEST)
        if room < 0:
            break
        kept[name] = value
    return {**kept, "image": container.image, "name": container.name}


def renewed(paths: Paths, identity: str, attributes: dict[str, str], since: float) -> dict[str, str]:
    """Return the attributes of a container's events, which were `attributes` at the time `since` (seconds since 1970): it may
    have been renamed.
    """
    try:
        if os.stat(f"{paths.containers}/{identity}/container.json").st_mtime < since:
            return attributes
        from cratebox.engine import records

        return of_container(records.load(paths, identity))
    except (OSError, CrateError):
        return attributes


def _append(where: str, line: bytes) -> None:
    fd = _open(where)
    try:
        os.write(fd, line)
        if os.fstat(fd).st_size > MOST:
            _turn(where, fd)
    finally:
        os.close(fd)


def _open(where: str) -> int:
    """Return the journal, shared with other writers and still in its place. Raises OSError."""
    for _ in range(_ATTEMPTS):
        fd = _opened(where)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.lstat(where + "/journal")):
                return fd
        except OSError:
            pass  # it is just becoming the old one
        os.close(fd)
        time.sleep(0.001)
    return _opened(where)  # somebody was stopped in the midst of it: a line that a follower may miss is better than none


def _opened(where: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(where + "/journal", flags, 0o600)
    except FileNotFoundError:
        try:
            os.mkdir(where, 0o700)
        except FileExistsError:
            pass
        return os.open(where + "/journal", flags, 0o600)


def _turn(where: str, fd: int) -> None:
    """Make the journal the old one, unless somebody writes to it: then the next one will."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(where + "/journal")):  # nobody turned it while the lock was changed
            os.rename(where + "/journal", where + "/journal.1")
    except BlockingIOError:
        pass
