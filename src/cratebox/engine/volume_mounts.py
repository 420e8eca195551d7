"""The volumes of one container: named and made when it is made, found where they are when it starts.

What its record says is a volume becomes a bind mount here, which is all that specgen.py and container_root.py know of. What a
bind mount cannot say goes along in runtime/wish.py (Bind); what has to be done when the first process is about to be made,
in volume_filling.py.
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.engine import events, records, volume_options
from cratebox.engine.exits import Exit
from cratebox.engine.mounts import MountWish, anonymous_volumes, target_of
from cratebox.engine.vanishing import Removal, vanish
from cratebox.engine.volume_filling import Starting
from cratebox.engine.volumes import ANONYMOUS, Volumes, new_name
from cratebox.errors import InvalidValue, NotFound, StorageError, Unsupported
from cratebox.runtime.wish import Bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cratebox.engine.config import ContainerConfig
    from cratebox.engine.idmaps import Identity
    from cratebox.engine.records import Container
    from cratebox.engine.volumes import Volume
    from cratebox.paths import Paths
    from cratebox.runtime.spec import Spec


# When the container is made


def named(volumes: Volumes, container: Container) -> Container:
    """Return the container with the volumes that its image asks for, and a name for each that has none. Nothing is made yet.

    Raises InvalidValue, Conflict, Unsupported, StorageError.
    """
    config = container.config
    taken = {one.target for one in config.mounts}
    asked = [_of_image(path) for path in container.defaults.volumes if "\0" not in path]
    mounts = (*config.mounts, *(one for one in _distinct(asked) if one.target not in taken))
    mounts = tuple(one.replace(source=new_name()) if one.kind == "volume" and not one.source else one for one in mounts)
    for one in mounts:
        if one.kind == "volume":
            volumes.check(one.source, one.labels, one.driver_options)
    return container.replace(config=config.replace(mounts=mounts))


def _of_image(path: str) -> MountWish:
    try:
        return MountWish(kind="volume", source="", target=target_of("/" + path), anonymous=True)
    except InvalidValue as error:
        raise InvalidValue(f"a volume of the image: {error.message}") from None


def _distinct(wishes: Iterable[MountWish]) -> list[MountWish]:
    return list({one.target: one for one in wishes}.values())


def make_with(
    volumes: Volumes, container: Container, put: Callable[[Container], tuple[Container, int]]
) -> tuple[Container, int]:
    """Call `put`, which puts the container in its place and returns it and its lock, then make what it has of volumes.

    In this order, and under the lock, nobody removes a volume in between, and a command that is killed leaves no volume without
    the container that says what it is for: a start makes what is missing. Raises Conflict, StorageError; nothing is left then.
    """
    lock = -1
    try:
        with volumes.held():
            container, lock = put(container)
            for one in container.config.mounts:
                _ensure(volumes, one)
    except BaseException:
        if lock >= 0:
            gone = anonymous_volumes(container.config.mounts)
            vanish(
                Removal(volumes.paths, volumes.identity, container.id, container.name, events.of_container(container), gone)
            )()
            os.close(lock)
        raise
    return container, lock


def _ensure(volumes: Volumes, one: MountWish) -> None:
    if one.kind == "volume":
        labels = {**one.labels, ANONYMOUS: ""} if one.anonymous else one.labels
        volumes.ensure(one.source, labels, one.driver_options)


# When it starts, or somebody looks into it


class Located:
    """Where the volumes of a container are. `config` has bind mounts in their place; `binds` and `starting` are what these are
    beyond that, by the places of the container.
    """

    def __init__(self, config: ContainerConfig, binds: dict[str, Bind], starting: tuple[Starting, ...]) -> None:
        self.config, self.binds, self.starting = config, binds, starting


def located(paths: Paths, identity: Identity, container: Container, config: ContainerConfig) -> Located:
    """Return where the volumes of `config`, which is the container's, are; one that is not made yet is made.

    `identity` has the maps of the container. Raises NotFound, InvalidValue, Unsupported, StorageError.
    """
    volumes = Volumes(paths, identity)
    begins = not has_run(records.directory(paths, container.id))
    mounts: list[MountWish] = []
    binds: dict[str, Bind] = {}
    starting: list[Starting] = []
    for one in config.mounts:
        if one.kind != "volume":
            mounts.append(one)
            continue
        volume = _there(volumes, one, begins)
        origin = _checked(volume, one, identity)
        found = _bound(volumes, volume, origin, one, identity)
        mounts.append(found)
        fill = one.copy and not one.subpath and (begins or origin.kind == "new")
        if one.subpath or fill:
            binds[one.target] = Bind(subpath=one.subpath if origin.kind != "new" else "", fill=fill)
        starting.append(
            Starting(
                name=volume.name,
                container=container.id,
                image=container.image_id,
                target=one.target,
                place=volumes.place(volume.name),
                data=found.source,
                origin=origin,
                fill=fill,
                subpath=one.subpath,
                durable=not container.config.remove,
                owner=identity,
                read_only=one.read_only or "ro" in found.options,
            )
        )
    return Located(config.replace(mounts=tuple(mounts)), binds, tuple(starting))


def has_run(where: str) -> bool:
    """Tell whether the container whose directory is `where` has been running before."""
    try:
        ended = record_file.read(where + "/exit.json", Exit)
    except StorageError:
        return True
    return bool(ended and ended.started_at)


def _there(volumes: Volumes, one: MountWish, begins: bool) -> Volume:
    """One that is not there was not made yet, or is lost, once the container has run:
    an empty one in its place would be a lie.
    """
    found = volumes.find(one.source)
    if found is None and not begins:
        raise NotFound(
            f"the volume {one.source}, for {one.target}, is gone", f"crate volume create {one.source} makes an empty one"
        )
    if found is None:
        with volumes.held():
            _ensure(volumes, one)
    return volumes.get(one.source)


def _checked(volume: Volume, one: MountWish, identity: Identity) -> volume_options.Origin:
    volume_options.check(volume.options, identity.rootless)
    origin = volume_options.origin_of(volume.options)
    if not volume_options.device_is_there(origin):
        raise InvalidValue(f"cannot mount the volume {volume.name}: there is no directory {origin.device} here")
    if origin.kind == "new" and (one.chown or one.idmap):
        raise Unsupported(
            f"cannot mount the volume {volume.name} with {'U' if one.chown else 'idmap'}: its files are not in a directory"
        )
    return origin


def _bound(volumes: Volumes, volume: Volume, origin: volume_options.Origin, one: MountWish, identity: Identity) -> MountWish:
    """Return the bind mount that a volume is. What the container says counts more than what the volume does."""
    source = origin.device if origin.kind == "bind" else volumes.data(volume)
    options = (*origin.options, *one.options)
    if origin.kind == "new" and not one.read_only and "ro" not in options:
        options = (*options, "rw")  # what another container has may be mounted read-only there
    if origin.kind == "directory" and identity.uids and not identity.rootless and not one.idmap:
        # On the disk a volume has the IDs that a container sees, whichever IDs of the machine it has of its own.
        one = one.replace(idmap="container")
    return one.replace(kind="bind", source=source, options=options, anonymous=False, labels={}, driver_options={}, subpath="")


# U


def give_to_user(identity: Identity, config: ContainerConfig, spec: Spec) -> None:
    """Do the option U: give what is in the mounts that have it to the container's user. Raises StorageError, Unsupported."""
    assert spec.process
    user = spec.process.user
    for one in config.mounts:
        if one.chown and one.kind == "bind":
            from cratebox.engine import ownership

            ownership.give(identity, one.source, user.uid, user.gid, mapped=bool(one.idmap))
