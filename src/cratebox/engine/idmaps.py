"""Which user and group IDs a container of this user can have: user_namespaces(7), subuid(5), subgid(5).

Root needs no map. Everybody else is root inside of his own user namespace, with the subordinate IDs that the machine grants
him from 1 on; where it grants none he is alone there.
"""

from __future__ import annotations

import os

from cratebox.linux.userns import IDMap, helpers
from cratebox.record import Record

_LIMIT = 1 << 20  # bytes of /etc/subuid that are read


class Identity(Record):
    """The caller's place: `uids` and `gids` are the maps of his containers, empty for root.

    `notice` and `hint` tell why a map has only one ID, and the command that mends it.
    """

    rootless: bool = False
    uids: tuple[IDMap, ...] = ()
    gids: tuple[IDMap, ...] = ()
    notice: str = ""
    hint: str = ""

    @property
    def single(self) -> bool:
        """Whether containers have one ID only, so that their files cannot belong to anybody else."""
        return self.rootless and sum(one.size for one in self.uids) == 1


def own() -> Identity:
    """Return the identity of this process. Raises nothing: what is missing becomes a map of one ID and a notice."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return Identity()
    alone = Identity(rootless=True, uids=(IDMap(0, uid, 1),), gids=(IDMap(0, gid, 1),))
    # Such a map forbids setgroups(2): what the user may read by a group, a container may that is shown it by a volume.
    kept = ", and your groups" if set(os.getgroups()) - {gid} else ""
    name = _user_name(uid)
    uids, gids = ranges("/etc/subuid", name, uid), ranges("/etc/subgid", name, uid)
    if not uids or not gids:
        where = " and ".join(path for path, found in (("/etc/subuid", uids), ("/etc/subgid", gids)) if not found)
        return alone.replace(
            notice=f"containers have one user ID only{kept}: no range of {name} in {where}",
            hint=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}",
        )
    try:
        helpers()
    except FileNotFoundError as error:
        return alone.replace(
            notice=f"containers have one user ID only{kept}: {error.strerror}", hint="as root: apt-get install uidmap"
        )
    return Identity(rootless=True, uids=_maps(uid, uids), gids=_maps(gid, gids))


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def ranges(path: str, name: str, uid: int) -> list[tuple[int, int]]:
    """Return (first, count) of each range that `path` grants: lines of NAME-OR-UID:FIRST:COUNT."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_LIMIT).splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if owner in (name, str(uid)) and first.isdecimal() and count.isdecimal() and int(count) > 0:
            found.append((int(first), int(count)))
    return found


def _maps(own_id: int, ranges: list[tuple[int, int]]) -> tuple[IDMap, ...]:
    maps, inside = [IDMap(0, own_id, 1)], 1
    for first, count in ranges:
        maps.append(IDMap(inside, first, count))
        inside += count
    return tuple(maps)
