"""What a container has changed in its root, by Docker's rules (moby, pkg/archive, "changes.go").

The two trees are compared by what lstat(2) says, for a file is copied up whole when it is only opened for writing: one whose
owner, mode, size, time and capabilities are those of the image has not changed. A directory counts as changed where something
in it has; of one that is gone, what was in it is not told. What crate itself put there to mount on is nobody's change.
"""

from __future__ import annotations

import os
import stat

from cratebox.engine.layered import Entry, Layered
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

ADDED, CHANGED, DELETED = "A", "C", "D"

# Places of mounts that every container has: made in its own layer where the image lacks them. Docker makes them in a layer of
# their own, which it shows to nobody.
_FURNITURE = frozenset(  # the container's
    ("/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/etc", "/etc/hosts", "/etc/hostname",  # noqa: S108
     "/etc/resolv.conf")
)  # fmt: skip


class Change(Record):
    """One line of `crate diff`: `kind` is A, C or D; `path` is absolute.
    `entry` is what is there now, None where it is gone.
    """

    kind: str
    path: str
    entry: Entry | None = None


class _Step:
    """A directory on the way: what it is now and was before, and whether its own line is there already."""

    __slots__ = ("above", "new", "old", "path", "told")

    def __init__(self, path: str, new: Entry, old: Entry | None, above: _Step | None, told: bool) -> None:
        self.path, self.new, self.old, self.above, self.told = path, new, old, above, told


def find(tree: Layered, new: Entry, old: Entry, furniture: Collection[str] = _FURNITURE) -> list[Change]:
    """Return the changes from the root `old` to the root `new` of `tree`, a directory before what is in it; what is new at a
    place of `furniture`, and empty, is none. Raises OSError.
    """
    found: list[Change] = []
    pending = [_Step("", new, old, None, told=True)]
    while pending:
        here = pending.pop()
        for change, below in _compare(tree, here, furniture):
            found.append(change) if change else None
            if change:
                _tell_above(here, found)
            if below:
                pending.append(below)
    return sorted(found, key=lambda change: change.path.replace("/", "\0"))


def pack(changes: Iterable[Change]) -> bytes:
    """Return changes as bytes, without their entries: for who reads the layers in another process."""
    return b"".join(os.fsencode(f"{change.kind}{change.path}\0") for change in changes)


def unpack(packed: bytes) -> list[Change]:
    """Return what `pack` was given."""
    return [Change(line[0], line[1:]) for line in os.fsdecode(packed).split("\0")[:-1]]


def _compare(tree: Layered, here: _Step, furniture: Collection[str]) -> Iterator[tuple[Change | None, _Step | None]]:
    """Yield the change of each entry of a directory, if any, and the directories that are still to be looked into."""
    before = tree.children(here.old) if here.old is not None and here.old.is_directory else {}
    for name, new in tree.children(here.new).items():
        path, old = f"{here.path}/{name}", before.pop(name, None)
        if old is not None and new.is_same(old):
            continue
        if old is None and path in furniture and _is_furniture(tree, path, new):
            continue
        change = None
        if old is None:
            change = Change(ADDED, path, new)
        elif _differs(tree, new, old):
            change = Change(CHANGED, path, new)
        yield change, _Step(path, new, old, here, told=change is not None) if new.is_directory else None
    for name in before:
        yield Change(DELETED, f"{here.path}/{name}"), None


def _tell_above(here: _Step, found: list[Change]) -> None:
    step: _Step | None = here
    while step is not None and not step.told:
        step.told = True
        found.append(Change(CHANGED, step.path, step.new))
        step = step.above


def _is_furniture(tree: Layered, path: str, entry: Entry) -> bool:
    if not entry.is_directory:
        return stat.S_ISREG(entry.info.st_mode) and entry.info.st_size == 0
    below = {f"{path}/{name}": one for name, one in tree.children(entry).items()}
    return all(name in _FURNITURE and _is_furniture(tree, name, one) for name, one in below.items())


def _differs(tree: Layered, new: Entry, old: Entry) -> bool:
    now, then = new.info, old.info
    if (now.st_mode, now.st_uid, now.st_gid) != (then.st_mode, then.st_uid, then.st_gid):
        return True
    if new.is_directory:
        return False  # its size and time tell of what is in it
    if now.st_size != then.st_size or now.st_rdev != then.st_rdev or not _same_time(now.st_mtime_ns, then.st_mtime_ns):
        return True
    return stat.S_ISREG(now.st_mode) and _capabilities(tree, new) != _capabilities(tree, old)


def _same_time(one: int, other: int) -> bool:
    """A layer's archive may have dropped the fractions of seconds."""
    return one == other or (one // 10**9 == other // 10**9 and 0 in (one % 10**9, other % 10**9))


def _capabilities(tree: Layered, entry: Entry) -> bytes:
    fd = tree.open(entry)
    try:
        return os.getxattr(fd, "security.capability")
    except OSError:
        return b""
    finally:
        os.close(fd)
