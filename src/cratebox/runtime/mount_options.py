"""The words that a mount's options are made of (mount(8); config.md, Linux mount options), as what they set and clear. Pure.

One table of them: `words` is what `features` tells, `check` what a spec may have, `split` what is done.
"""

from __future__ import annotations

from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux import const
from cratebox.record import Record
from cratebox.runtime.spec import Mount, Spec

# What a word sets, and what it clears; with an r before it, of all mounts below as well.
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
# What the mount is, and what is done with it: no option of any file system.
_KINDS = ("bind", "rbind", "remount", "defaults", "idmap", "ridmap", "tmpcopyup")
# Flags of the superblock, which fsconfig(2) takes by these names where a new file system is made; a bind mount has none.
_SUPERBLOCK = ("sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime")
# What is so anyway: the kernel's log is not the user's, and counting inode versions has no name in fsconfig(2).
_AS_IT_IS = ("silent", "loud", "noiversion")
_IGNORED = frozenset(("bind", "rbind", "remount", "defaults", "tmpcopyup", *_AS_IT_IS))
SHARED = frozenset(("shared", "rshared"))
SLAVE = frozenset(("slave", "rslave"))
IDMAP = frozenset(("idmap", "ridmap"))
_RARE = SHARED | IDMAP | {"tmpcopyup"}
_LOCKED_TYPES = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue")


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


def words() -> list[str]:
    """Return every option that is no matter of a file system, sorted (features.md, mountOptions)."""
    deep = tuple("r" + word for word in _ATTRIBUTES)
    return sorted({*_ATTRIBUTES, *deep, *PROPAGATION, *_KINDS, *_SUPERBLOCK, *_AS_IT_IS})


def is_new(one: Mount) -> bool:
    """Tell whether a mount makes a file system of the container's own, and does not show one of the host's."""
    return one.type != "bind" and "bind" not in one.options and "rbind" not in one.options


def place_of(one: Mount) -> str:
    """Return where a mount goes; a relative path, which old tools write, is below / (config.md, Mounts)."""
    return one.destination if one.destination[:1] == "/" else "/" + one.destination


def words_of_all(mounts: tuple[Mount, ...]) -> set[str]:
    """Return the options that any of `mounts` has."""
    return set().union(*[one.options for one in mounts])


def need_sources(spec: Spec, privileged: bool) -> bool:
    """Tell whether a mount of `spec` needs something from outside of the container's namespaces (sources.py);
    rarely one does.
    """
    linux = spec.linux
    if linux and (linux.mount_label or (privileged and any(one.type == "user" for one in linux.namespaces))):
        return True
    return not _RARE.isdisjoint(words_of_all(spec.mounts)) or bool([1 for one in spec.mounts if one.uid_mappings])


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
        elif option not in _IGNORED and option not in IDMAP:
            rest.append(option)
    return Options(plus, minus, deep_plus, deep_minus, tuple(propagation), tuple(rest))


def check(one: Mount, where: str) -> None:
    """Raise Unsupported or InvalidValue for an option of `one` that cannot be done; `where` names the mount.

    What a new file system makes of its own options only the kernel knows.
    """
    if "remount" in one.options:
        _check_remount(one, where)
    elif is_new(one):
        _check_new(one, where)
    else:
        unknown = [word for word in split(one).rest if word not in _SUPERBLOCK and word != "iversion"]
        if unknown:
            raise InvalidValue(f"{where}.options has {unknown[0]!a}, which is no option of a bind mount")
    if "tmpcopyup" in one.options and (one.type != "tmpfs" or "remount" in one.options or not is_new(one)):
        raise InvalidValue(f"{where}.options has tmpcopyup, which is for a new tmpfs alone")
    if (one.uid_mappings or one.gid_mappings) and not (one.uid_mappings and one.gid_mappings):
        raise InvalidValue(f"{where} has only one of uidMappings and gidMappings")
    if is_mapped(one) and (is_new(one) or "remount" in one.options):
        raise Unsupported(f"{where} is to have its IDs mapped, which is for a bind mount alone")


def is_mapped(one: Mount) -> bool:
    """Tell whether the IDs of a mount are mapped: mappings without a word mean `idmap`, as runc has it."""
    return bool(one.uid_mappings) or not IDMAP.isdisjoint(one.options)


def _check_new(one: Mount, where: str) -> None:
    if not one.type:
        raise InvalidValue(f"{where}.type is missing")
    if "iversion" in one.options:
        raise Unsupported(
            f"{where}.options has iversion, which the kernel's calls for new file systems do not know",
            "leave it out: ext4, xfs and btrfs count versions without being asked",
        )


def _check_remount(one: Mount, where: str) -> None:
    if is_new(one) and one.type in _LOCKED_TYPES and split(one).rest:
        raise Unsupported(
            f"{where}.options has remount with {split(one).rest[0]!a}: a {one.type} is not the container's alone",
            "remount with bind changes nothing but this mount",
        )
