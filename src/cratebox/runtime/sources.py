"""What mounts need from outside of the container's namespaces: opened before the fork, with the rights of whoever calls.

In a user namespace of its own init has no rights over the host's file systems. It could neither map their IDs nor reach a
directory that only the host's root may enter; and what it mounts could never be seen by the host, as `shared` asks for.
`mount_options.need_sources` tells which specs need this module: few do.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, RuntimeFailure, Unsupported
from cratebox.linux import const, mount, userns
from cratebox.linux.procfs import read_text
from cratebox.runtime.mount_options import SHARED, is_mapped, is_new
from cratebox.runtime.mounts import tree_of
from cratebox.runtime.spec import IDMapping, Linux, Mount, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cratebox.runtime.wish import Bind

_EINVAL, _EPERM = 22, 1
_Maps = tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]


def open_sources(spec: Spec, binds: Mapping[int, Bind] | None = None) -> dict[int, int]:
    """Return a descriptor of each bind mount that init could not make, by its number in the spec; nothing is mounted yet.

    `binds` is what some of them are beyond the spec. Raises RuntimeFailure, Unsupported, InvalidValue;
    nothing is left open then.
    """
    linux, binds = spec.linux, binds or {}
    assert linux
    if linux.mount_label:
        _check_label(linux.mount_label)
    confined = any(one.type == "user" for one in linux.namespaces)
    privileged = os.geteuid() == 0
    trees: dict[int, int] = {}
    spaces: dict[_Maps | str, int] = {}
    try:
        for number, one in enumerate(spec.mounts):
            if "tmpcopyup" in one.options:
                import cratebox.runtime.copyup  # noqa: F401  init cannot import any more
            if is_new(one) or "remount" in one.options:
                continue
            if is_mapped(one):
                trees[number] = _mapped(one, linux, spaces, privileged, binds.get(number))
            elif privileged and confined != _is_shared(one):  # in a user namespace nothing of the host's can be shared
                _open(trees, number, one, binds.get(number))
    except BaseException:
        for fd in trees.values():
            os.close(fd)
        raise
    finally:
        for fd in spaces.values():
            os.close(fd)
    return trees


def _is_shared(one: Mount) -> bool:
    return not SHARED.isdisjoint(one.options)


def _open(trees: dict[int, int], number: int, one: Mount, bind: Bind | None) -> None:
    """What is not to be had here init will try again, and say so."""
    try:
        trees[number] = tree_of(one, bind)
    except OSError:
        pass


def _mapped(one: Mount, linux: Linux, spaces: dict[_Maps | str, int], privileged: bool, bind: Bind | None) -> int:
    shown = f"{ascii(one.source)[1:-1]} at {ascii(one.destination)[1:-1]}"
    if not privileged:
        raise Unsupported(
            f"cannot mount {shown}: mapping the IDs of a mount takes root",
            "the kernel lets an ordinary user map no file system of the host",
        )
    try:
        tree = tree_of(one, bind)
    except OSError as error:
        raise RuntimeFailure(f"cannot mount {shown}: {error.strerror}") from None
    try:
        space = _space(one, linux, spaces)
        mount.set_attributes(tree, const.MOUNT_ATTR_IDMAP, recursive="ridmap" in one.options, userns_fd=space)
    except OSError as error:
        os.close(tree)
        hint = (
            "the file system does not let its IDs be mapped, or one that is mounted below it does not"
            if error.errno in (_EINVAL, _EPERM)
            else None
        )
        raise RuntimeFailure(f"cannot map the IDs of {shown}: {error.strerror}", hint) from None
    except BaseException:
        os.close(tree)
        raise
    return tree


def _space(one: Mount, linux: Linux, spaces: dict[_Maps | str, int]) -> int:
    """Return a user namespace with the mappings of the mount, or with the container's own where it has none."""
    path = next((space.path for space in linux.namespaces if space.type == "user"), None)
    key: _Maps | str
    if one.uid_mappings:
        key = (one.uid_mappings, one.gid_mappings)
    elif path:
        key = path
    elif path is not None:
        key = (linux.uid_mappings, linux.gid_mappings)
    else:
        raise InvalidValue(
            f"spec: the mount at {one.destination!a} has idmap, but neither it nor the container has ID mappings"
        )
    if key not in spaces:
        spaces[key] = (
            os.open(key, os.O_RDONLY | os.O_CLOEXEC) if isinstance(key, str) else userns.open_new(_maps(key[0]), _maps(key[1]))
        )
    return spaces[key]


def _maps(mappings: tuple[IDMapping, ...]) -> tuple[userns.IDMap, ...]:
    return tuple(userns.IDMap(inside=one.container_id, outside=one.host_id, size=one.size) for one in mappings)


def _check_label(label: str) -> None:
    if "\tselinuxfs\n" not in read_text("/proc/filesystems"):
        raise Unsupported(
            f"spec: linux.mountLabel {label!a}: this machine does not run SELinux",
            "leave it out, or empty, where there is no SELinux",
        )
