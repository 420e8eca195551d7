"""Which IDs of the machine those of one container are: --userns, --uidmap and --gidmap (user_namespaces(7), subuid(5)).

auto      root: a range of the user "containers" in /etc/subuid and /etc/subgid that no other container has, as Podman does
keep-id   everybody else: the user's own ID is the same inside, and the subordinate ones are around it
map       what --uidmap and --gidmap say

Root's containers see their files through mounts with other IDs. Without root there are none of a file system of this machine's
(mount_setattr(2): it takes CAP_SYS_ADMIN where that was mounted), so such a container gets a copy of its image,
with other owners.
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.engine import idmaps, records
from cratebox.engine.config import ContainerConfig
from cratebox.engine.idmaps import Identity
from cratebox.engine.namespace_words import options
from cratebox.engine.records import Container
from cratebox.errors import CrateError, InvalidValue, NotFound, Unsupported
from cratebox.linux import lock
from cratebox.linux.procfs import read_text
from cratebox.linux.userns import IDMap
from cratebox.paths import Paths, private_directory
from cratebox.runtime.spec import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OWNER = "containers"
_USUAL = 65536
_MOST_ID = 2**31


def kind_of(config: ContainerConfig) -> str:
    """Return "auto" or "keep-id", "" where the container has its user's usual IDs."""
    word = config.namespaces.user.partition(":")[0]
    return word if word in {"auto", "keep-id", "map"} else ""


def checked(config: ContainerConfig, identity: Identity) -> ContainerConfig:
    """Return the config with the user that keep-id means, where no other was named. Raises InvalidValue, Unsupported."""
    kind = kind_of(config)
    if kind == "map":
        _check_map(config, identity)
    if kind == "auto":
        if identity.rootless:
            raise Unsupported(
                "--userns auto takes root: without it, all IDs that you have are your containers'", "--userns keep-id"
            )
        if config.image.startswith("rootfs:"):
            raise Unsupported("--userns auto cannot map the IDs of rootfs:DIR: its changes are in memory", "use an image")
    if kind == "keep-id":
        if not identity.rootless:
            raise Unsupported("--userns keep-id is for users: root's ID is 0 on both sides already", "--userns auto")
        if identity.single:
            raise Unsupported(f"--userns keep-id takes a range of IDs: {identity.notice}", identity.hint)
        uid, gid = _kept_ids(config)
        if max(uid, gid) >= _MOST_ID:
            raise InvalidValue(f"--userns keep-id: {max(uid, gid)} is no ID")
        return config if config.user is not None else config.replace(user=f"{uid}:{gid}")
    return config


def _check_map(config: ContainerConfig, identity: Identity) -> None:
    if config.image.startswith("rootfs:"):
        raise Unsupported("--uidmap and --gidmap cannot map the IDs of rootfs:DIR: its changes are in memory", "use an image")
    if identity.rootless:
        wanted = config.namespaces
        for flag, maps, usual in (("--uidmap", wanted.uid_map, identity.uids), ("--gidmap", wanted.gid_map, identity.gids)):
            _within(flag, maps, usual)
            if all(one.outside for one in maps):
                raise Unsupported(
                    f"{flag} leaves out your own ID, FROM 0: the container's root could not enter your directories",
                    f"{flag} {max(one.inside + one.size for one in maps)}:0:1 adds it",
                )


def _within(flag: str, wanted: tuple[IDMap, ...], usual: tuple[IDMap, ...]) -> tuple[IDMap, ...]:
    """Return the machine's IDs for those that a container usually has inside.
    Raises InvalidValue where it does not have them.
    """
    found = []
    for one in wanted:
        for other in usual:
            begin, end = max(one.outside, other.inside), min(one.outside + one.size, other.inside + other.size)
            if begin < end:
                found.append(IDMap(one.inside + begin - one.outside, other.outside + begin - other.inside, end - begin))
    if sum(one.size for one in found) != sum(one.size for one in wanted):
        last = max(one.inside + one.size for one in usual) - 1
        raise InvalidValue(
            f"{flag}: you have no such ID",
            f"FROM is 0, which is yours, or one of 1 to {last}, the subordinate ones" if last else None,
        )
    return tuple(sorted(found, key=lambda one: one.inside))


def _kept_ids(config: ContainerConfig) -> tuple[int, int]:
    wanted = options(config.namespaces.user)
    return wanted.get("uid", os.geteuid()), wanted.get("gid", os.getegid())


def of_container(identity: Identity, container: Container) -> Identity:
    """Return the identity whose maps are those of this container."""
    kind = kind_of(container.config)
    if kind == "auto":
        maps = (IDMap(0, container.first_id, container.ids),)
        return identity.replace(uids=maps, gids=maps)
    if kind == "keep-id":
        uid, gid = _kept_ids(container.config)
        return identity.replace(uids=kept(identity.uids, uid), gids=kept(identity.gids, gid))
    if kind == "map":
        wanted = container.config.namespaces
        if not identity.rootless:
            return identity.replace(uids=wanted.uid_map, gids=wanted.gid_map)
        return identity.replace(
            uids=_within("--uidmap", wanted.uid_map, identity.uids), gids=_within("--gidmap", wanted.gid_map, identity.gids)
        )
    return identity


def kept(maps: tuple[IDMap, ...], number: int) -> tuple[IDMap, ...]:
    """Return maps of the same IDs, of which the first, one's own, is `number` inside;
    the others are around it, in their order.
    """
    own, *others = maps
    found, inside = [], 0
    for one in others:
        before = min(one.size, max(number - inside, 0))
        if before:
            found.append(IDMap(inside, one.outside, before))
            inside += before
        if one.size > before:
            inside += inside == number
            found.append(IDMap(inside, one.outside + before, one.size - before))
            inside += one.size - before
    return (IDMap(number, own.outside, 1), *found)


def needs_copy(config: ContainerConfig, rootless: bool) -> bool:
    """Tell whether the container's IDs are others than those of the layers on the disk, and no mount can show them so."""
    return rootless and kind_of(config) != ""


def shifts(config: ContainerConfig) -> tuple[Callable[[int], int], Callable[[int], int]] | None:
    """Return which ID of the user's usual maps a user and a group of the image is for this container; None for the same."""
    kind = kind_of(config)
    if kind == "map":
        uids, gids = config.namespaces.uid_map, config.namespaces.gid_map
        return lambda one: _from(one, uids), lambda one: _from(one, gids)
    if kind != "keep-id":
        return None
    uid, gid = _kept_ids(config)
    return lambda one: _shifted(one, uid), lambda one: _shifted(one, gid)


def _shifted(one: int, number: int) -> int:
    """What is `one` with `kept` is this with the maps that `kept` was given."""
    if one == number:
        return 0
    return one + 1 if one < number else one


def _from(one: int, maps: tuple[IDMap, ...]) -> int:
    """Whom the container has no ID for belongs to its root: he must be somebody whom the user has an ID for."""
    return next((each.outside + one - each.inside for each in maps if 0 <= one - each.inside < each.size), maps[0].outside)


def allocate(paths: Paths, config: ContainerConfig) -> tuple[int, int, int]:
    """Return a free range for a container (first, size), and the lock that keeps others from taking it until its record is
    there.

    Raises Unsupported where the machine has no such range.
    """
    size = options(config.namespaces.user).get("size", _USUAL)
    private_directory(paths.root)
    held = lock.hold(paths.root + "/userns.lock")
    try:
        return _free(size, _granted(), _taken(paths)), size, held
    except BaseException:
        os.close(held)
        raise


def _granted() -> list[tuple[int, int]]:
    users, groups = idmaps.ranges("/etc/subuid", OWNER, -1), idmaps.ranges("/etc/subgid", OWNER, -1)
    found = []
    for first, size in users:
        for other, count in groups:
            begin, end = max(first, other), min(first + size, other + count)
            if begin < end:
                found.append((begin, end - begin))
    if not found:
        raise Unsupported(
            f"--userns auto: /etc/subuid and /etc/subgid grant no range to the user {OWNER}",
            f"useradd --system --no-create-home {OWNER}; usermod --add-subuids 2147483647-4294967294 --add-subgids 2147483647-4294967294 {OWNER}",
        )
    return found


def _taken(paths: Paths) -> list[tuple[int, int]]:
    found = []
    for identity in records.identities(paths):
        try:
            container = records.load(paths, identity)
        except NotFound:
            continue  # just removed
        except CrateError:
            found += _in_use(paths, identity)
            continue
        if container.ids:
            found.append((container.first_id, container.ids))
    return sorted(found)


def _in_use(paths: Paths, identity: str) -> list[tuple[int, int]]:
    """Return the IDs of a container whose record is damaged, as its last start and the kernel tell them:
    what runs keeps them.
    """
    try:
        spec = record_file.read(records.directory(paths, identity) + "/config.json", Spec)
        if spec and spec.linux:
            return [(one.host_id, one.size) for one in spec.linux.uid_mappings]
    except CrateError:
        pass  # that is damaged as well
    try:
        state = records.running_state(paths, identity)
        lines = read_text(f"/proc/{state.pid}/uid_map").splitlines() if state else []
    except (CrateError, OSError):
        return []  # it does not run, and cannot be started
    return [(int(first), int(size)) for _, first, size in map(str.split, lines)]


def _free(size: int, granted: list[tuple[int, int]], taken: list[tuple[int, int]]) -> int:
    for first, count in granted:
        here = first
        for other, others in taken:
            if other + others <= here or other >= first + count:
                continue
            if other - here >= size:
                break
            here = other + others
        if first + count - here >= size:
            return here
    raise Unsupported(
        f"--userns auto: no {size} IDs of the user {OWNER} are free",
        "remove containers, or grant more in /etc/subuid and /etc/subgid",
    )
