"""`--mount type=image`: the files of an image at a place of the container, to be read. An overlay of its layers, mounted for
the container alone, each time it starts.

Which image a name means is decided when the container is made; it is not removed as long as the container is there.
"""

from __future__ import annotations

import os

from cratebox.engine import made_mounts
from cratebox.errors import CrateError, NotFound, Unsupported
from cratebox.linux import const, mount, userns
from cratebox.runtime.mounts import open_subpath
from cratebox.runtime.overlay import mount_for_reading, put
from cratebox.runtime.spec import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.config import ContainerConfig
    from cratebox.engine.idmaps import Identity
    from cratebox.engine.images import Images
    from cratebox.engine.mounts import MountWish


def resolved(images: Images, config: ContainerConfig) -> ContainerConfig:
    """Return the config with the images that its mounts mean. The caller holds the store: see `Images.using`.

    Raises NotFound, Conflict, StorageError.
    """
    return config.replace(mounts=tuple(_resolved(images, one) if one.kind == "image" else one for one in config.mounts))


def _resolved(images: Images, one: MountWish) -> MountWish:
    try:
        found = images.get(one.image or one.source)  # another container's, by --volumes-from, is known already
    except NotFound as error:
        raise NotFound(f"cannot mount an image at {one.target}: {error.message}", f"crate pull {one.source}") from None
    return one.replace(image=found.id, layers=found.layers)


def trees(images: Images, own: Identity, identity: Identity, mounts: tuple[MountWish, ...], directory: str) -> dict[str, int]:
    """Return a mount that is attached nowhere for each image, by its place. `own` are the IDs of whose store it is, `identity`
    has the container's; `directory` is the container's. Raises Unsupported, RuntimeFailure, NotFound, StorageError.
    """
    made: dict[str, int] = {}
    try:
        for one in mounts:
            if one.kind == "image":
                made[one.target] = _tree(images, own, identity, one, directory)
    except BaseException:
        for fd in made.values():
            os.close(fd)
        raise
    return made


def _tree(images: Images, own: Identity, identity: Identity, one: MountWish, directory: str) -> int:
    what = f"cannot mount the image {one.source} at {one.target}"
    if identity.rootless and (identity.uids, identity.gids) != (own.uids, own.gids):
        raise Unsupported(
            f"{what}: the container has other IDs than the store", "without --userns, --uidmap and --gidmap it can be had"
        )
    try:
        layers = images.store.layer_directories(images.store.find(one.image))
    except CrateError as error:
        raise type(error)(f"{what}: {error.message}", error.hint) from None
    space = userns.open_new(identity.uids, identity.gids) if identity.uids and not identity.rootless else -1

    def make() -> tuple[int, ...]:
        mount.mount("none", "/", "", const.MS_REC | const.MS_PRIVATE)
        if space >= 0:
            for path in layers:
                layer = mount.clone_tree(path, recursive=False)
                mount.set_attributes(layer, const.MOUNT_ATTR_IDMAP, userns_fd=space)
                os.close(put(layer, path))
        os.close(put(mount.new_filesystem("tmpfs", ("mode=700",)), directory))  # for places that nobody else sees
        for name in ("empty", "root"):
            os.mkdir(f"{directory}/{name}")
        mount_for_reading((directory + "/empty", *layers), directory + "/root")
        place = os.open(directory + "/root", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if one.subpath:
            place = open_subpath(place, one.subpath, Mount(one.target, "image", one.source))
        return (mount.clone_tree("", recursive=False, directory=place),)

    flags = const.CLONE_NEWNS | (const.CLONE_NEWUSER if identity.rootless else 0)
    try:
        return made_mounts.made(make, what, flags, identity)[0]
    finally:
        if space >= 0:
            os.close(space)
