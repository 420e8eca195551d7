"""The words that a mount's options are made of (mount(8); config.md, Mounts), as what they set and clear. Pure."""

from __future__ import annotations

from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux import const
from cratebox.record import Record
from cratebox.runtime.spec import Mount

# What a word sets, and what it clears.
_ATTRIBUTES = {
    "ro": (const.MOUNT_ATTR_RDONLY, 0), "rw": (0, const.MOUNT_ATTR_RDONLY),
    "nosuid": (const.MOUNT_ATTR_NOSUID, 0), "suid": (0, const.MOUNT_ATTR_NOSUID),
    "nodev": (const.MOUNT_ATTR_NODEV, 0), "dev": (0, const.MOUNT_ATTR_NODEV),
    "noexec": (const.MOUNT_ATTR_NOEXEC, 0), "exec": (0, const.MOUNT_ATTR_NOEXEC),
    "noatime": (const.MOUNT_ATTR_NOATIME, const.MOUNT_ATTR__ATIME), "atime": (0, const.MOUNT_ATTR__ATIME),
    "strictatime": (const.MOUNT_ATTR_STRICTATIME, const.MOUNT_ATTR__ATIME),
    "nostrictatime": (0, const.MOUNT_ATTR__ATIME),
    "relatime": (const.MOUNT_ATTR_RELATIME, const.MOUNT_ATTR__ATIME), "norelatime": (0, const.MOUNT_ATTR__ATIME),
    "nodiratime": (const.MOUNT_ATTR_NODIRATIME, 0), "diratime": (0, const.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (const.MOUNT_ATTR_NOSYMFOLLOW, 0), "symfollow": (0, const.MOUNT_ATTR_NOSYMFOLLOW),
}  # fmt: skip
# The kind, and whether it is for all mounts below as well.
PROPAGATION = {
    "private": (const.MS_PRIVATE, False), "rprivate": (const.MS_PRIVATE, True),
    "slave": (const.MS_SLAVE, False), "rslave": (const.MS_SLAVE, True),
    "shared": (const.MS_SHARED, False), "rshared": (const.MS_SHARED, True),
    "unbindable": (const.MS_UNBINDABLE, False), "runbindable": (const.MS_UNBINDABLE, True),
}  # fmt: skip
_REFUSED = ("idmap", "ridmap", "tmpcopyup", "copy-symlink", "remount")
# Words that are flags of the superblock where a new file system is made, and mean nothing to a bind mount.
_SUPERBLOCK = (
    "sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime", "silent", "loud", "iversion", "noiversion",
)  # fmt: skip


class Options(Record):
    """The options of a mount, sorted: MOUNT_ATTR_* to set and to clear, the same for the whole tree below, propagation, and
    what is left for the file system.
    """

    plus: int
    minus: int
    deep_plus: int
    deep_minus: int
    propagation: tuple[tuple[int, bool], ...]
    rest: tuple[str, ...]


def is_new(one: Mount) -> bool:
    """Tell whether a mount makes a file system of the container's own, and does not show one of the host's."""
    return one.type != "bind" and "bind" not in one.options and "rbind" not in one.options


def split(one: Mount) -> Options:
    """Sort the options of a mount that `check` has let pass. A later word wins over an earlier one."""
    plus, minus, deep_plus, deep_minus = 0, 0, 0, 0
    propagation, rest = [], []
    for option in one.options:
        if option in _ATTRIBUTES:
            set_, clear = _ATTRIBUTES[option]
            plus, minus = (plus & ~clear | set_, minus & ~set_ | clear)
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            set_, clear = _ATTRIBUTES[option[1:]]
            deep_plus, deep_minus = (deep_plus & ~clear | set_, deep_minus & ~set_ | clear)
        elif option in PROPAGATION:
            propagation.append(PROPAGATION[option])
        elif option not in ("bind", "rbind", "defaults"):
            rest.append(option)
    return Options(plus, minus, deep_plus, deep_minus, tuple(propagation), tuple(rest))


def check(one: Mount, where: str) -> None:
    """Raise Unsupported or InvalidValue for an option of `one` that cannot be done; `where` names the mount.

    What a new file system makes of its own options only the kernel knows.
    """
    new = is_new(one)
    for option in one.options:
        if option in _REFUSED:
            raise Unsupported(f"{where}.options has {option}, which is not done by this version of crate")
        if not new and option in ("shared", "rshared"):
            raise Unsupported(
                f"{where}.options has {option}: mounts made in a container do not reach the host", "rslave brings the host's in"
            )
    unknown = [] if new else [word for word in split(one).rest if word not in _SUPERBLOCK]
    if unknown:
        raise InvalidValue(f"{where}.options has {unknown[0]!a}, which is no option of a bind mount")


def words() -> list[str]:
    """Return every word that `check` knows, which is not an option of some file system's own (features.md, Mount options)."""
    known = {"bind", "rbind", "defaults", *_ATTRIBUTES, *(f"r{word}" for word in _ATTRIBUTES), *PROPAGATION, *_SUPERBLOCK}
    return sorted(known.difference(_REFUSED))
