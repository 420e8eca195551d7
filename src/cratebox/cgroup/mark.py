"""Whose a cgroup is: an extended attribute of its directories (xattr(7)).

A path that was written down may be damaged, and lead to somebody else's cgroup, whose processes would be killed. The kernel
keeps the mark as long as the directory itself, and inside of a container only who is the machine's root could change it.
"""

from __future__ import annotations

import os

from cratebox.cgroup.base import Cgroup, from_paths

_OF_ROOT, _OF_USERS = "trusted.crate", "user.crate"  # cgroup v2 has the latter since Linux 5.7


def put(group: Cgroup, owner: str) -> None:
    """Mark the directories of `group` as those of `owner`. On a kernel that cannot, they stay without."""
    for directory in group.directories.values():
        for name in (_OF_ROOT, _OF_USERS):
            try:
                os.setxattr(directory, name, owner.encode())
            except OSError:
                continue
            break


def of(directory: str) -> str:
    """Return whose `directory` is; "" where it has no mark, or is gone."""
    for name in (_OF_ROOT, _OF_USERS):
        try:
            return os.getxattr(directory, name).decode(errors="replace")
        except OSError:
            continue
    return ""


def find(owner: str) -> Cgroup:
    """Return the cgroup that is marked as that of `owner`: all hierarchies are searched.
    It has no directories where there is none.
    """
    from cratebox.cgroup import mounts

    try:
        hierarchies, unified = mounts.find()
    except OSError:
        return from_paths({})
    places = (*hierarchies, *((("unified", unified.mountpoint),) if unified else ()))
    found = {controllers: directory for controllers, place in places if (directory := _search(place, owner))}
    unit = next((os.path.basename(one) for one in found.values() if one.endswith(".scope")), "")
    return from_paths({**found, "unit": unit, "bus": "user" if os.geteuid() else "system"} if unit else found)


def _search(place: str, owner: str) -> str:
    return next((where for where, _names, _files in os.walk(place) if of(where) == owner), "")
