"""Who a container's process is: `--user` and USER, looked up in the image's /etc/passwd and /etc/group.

The files are the image's, so they are hostile: opened below a layer's directory, as regular files without waiting, at most
1 MiB of them, and a number is a number of 0 to 2^31-1 or nothing (CVE-2024-40635). Formats: passwd(5), group(5).
"""

from __future__ import annotations

import os
import stat

from cratebox.errors import InvalidValue, RuntimeFailure
from cratebox.linux import const, mount
from cratebox.linux.beneath import open_in_root
from cratebox.linux.regular import open_again
from cratebox.record import Record

_LIMIT = 1 << 20
_MAX_ID = 2**31 - 1


class Account(Record):
    """A resolved user. `groups` are the supplementary ones; `home` is what HOME is set to."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(user: str, directories: tuple[str, ...]) -> Account:
    """Return the account that `user` (NAME|UID[:GROUP|GID], or empty for root) is in the tree of these layers.

    `directories` are overlay layers, highest first. Raises InvalidValue for a user or group that is not there.
    """
    name, colon, group = user.partition(":")
    # Docker takes an empty name for root, which is what a script gets whose variable is not set.
    if "\0" in user or (colon and not group) or (user and not name):
        raise InvalidValue(f"not a user: {user!a}", "write USER, UID, USER:GROUP or UID:GID")
    passwd = _rows(read(directories, "etc/passwd"), 7)
    row = _find_user(passwd, name)
    number = _number(name) if name else 0
    if row is None and number is None:
        raise InvalidValue(
            f"no user {name!a} in the image's /etc/passwd",
            "a number can be given instead: --user 1000" if not name[:1].isdigit() else f"user IDs go from 0 to {_MAX_ID}",
        )
    uid, gid = (int(row[2]), int(row[3])) if row else (number or 0, 0)
    home = (row[5] if row else "") or "/"
    groups = _rows(read(directories, "etc/group"), 4)
    if group:
        return Account(uid=uid, gid=_group(groups, group), home=home)
    login = row[0] if row else ""
    member_of = tuple(int(one[2]) for one in groups if login and login in one[3].split(","))
    return Account(uid=uid, gid=gid, groups=member_of, home=home)


def groups(names: tuple[str, ...], directories: tuple[str, ...]) -> tuple[int, ...]:
    """Return the IDs of the groups of --group-add, by name or number. Raises InvalidValue for one that is not there."""
    rows = _rows(read(directories, "etc/group"), 4)
    return tuple(_group(rows, name) for name in names)


def _find_user(passwd: list[list[str]], name: str) -> list[str] | None:
    """A number is a number: a user of the image whose name is "1000" does not get to be whom `--user 1000` means."""
    valid = [row for row in passwd if _number(row[2]) is not None and _number(row[3]) is not None]
    wanted = _number(name) if name else 0
    for row in valid:
        if (row[0] == name) if wanted is None else (_number(row[2]) == wanted):
            return row
    return None


def _group(groups: list[list[str]], name: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    for row in groups:
        if row[0] == name:
            return int(row[2])
    hint = f"group IDs go from 0 to {_MAX_ID}" if name[:1].isdigit() else "a number can be given instead, as 1000"
    raise InvalidValue(f"no group {name!a} in the image's /etc/group", hint)


def _number(text: str) -> int | None:
    """Return an ID written in ASCII digits; None for anything else, out of range included."""
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _MAX_ID:
        return None
    return int(text)


def _rows(raw: bytes, fields: int) -> list[list[str]]:
    """Split passwd or group into rows; what has too few fields, or an ID that is none, is no row."""
    rows = []
    for line in raw.decode("utf-8", "surrogateescape").split("\n"):
        row = line.rstrip("\r").split(":")
        if len(row) >= fields and row[0] and not row[0].startswith("#") and _number(row[2]) is not None:
            rows.append(row)
    return rows


def read(directories: tuple[str, ...], path: str) -> bytes:
    """Return the file `path` as overlayfs would show it, b"" where there is none or it is not a regular file of at most 1 MiB.

    `directories` are the layers, highest first. Raises InvalidValue for a file that is larger.
    """
    for directory in directories:
        try:
            root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            found = _read_below(root, path)
            if found is not None:
                return found
            if _hides(root, path):
                return b""
        finally:
            os.close(root)
    return b""


def _read_below(root: int, path: str) -> bytes | None:
    try:
        place = open_in_root(root, path)  # O_PATH: opening a device for real may do something
    except OSError:
        return None
    try:
        info = os.fstat(place)
        if not stat.S_ISREG(info.st_mode):
            return b"" if not _is_whiteout(info) else None
        if mount.filesystem_type(place) == const.PROC_SUPER_MAGIC:
            return b""  # a symlink of a running container to what only the host's root may read: /proc/kmsg makes him wait
        if info.st_size > _LIMIT:
            raise InvalidValue(f"the image's /{path} is larger than 1 MiB")
        with open(open_again(place, path), "rb", 0) as file:
            return file.read(_LIMIT)
    except BlockingIOError as error:
        raise RuntimeFailure(
            f"cannot read the container's /{path}: {error.strerror}",
            "crate top lists the container's processes, one of which has it",
        ) from None
    except OSError:
        return b""
    finally:
        os.close(place)


def _is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _hides(root: int, path: str) -> bool:
    """Tell whether this layer hides what lower ones have at `path`: a whiteout on the way, or an opaque directory."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        try:
            here = open_in_root(root, "/".join(parts[:count]), os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            info = os.fstat(here)
            if _is_whiteout(info) or (count < len(parts) and not stat.S_ISDIR(info.st_mode)):
                return True
            names = _attributes(here)
            if names & {"trusted.overlay.opaque", "user.overlay.opaque", "trusted.overlay.whiteout", "user.overlay.whiteout"}:
                return count == len(parts) or _opaque(here)
        finally:
            os.close(here)
    return False


def _attributes(fd: int) -> set[str]:
    try:
        return set(os.listxattr(f"/proc/self/fd/{fd}"))
    except OSError:
        return set()


def _opaque(fd: int) -> bool:
    for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if os.getxattr(f"/proc/self/fd/{fd}", name) == b"y":
                return True
        except OSError:
            continue
    return False
