"""`crate image mount`: the files of an image at a path of this machine, to be read and never written.

    STATE/mounted-images/HEX/root            where it is mounted: an overlay of the image's layers without a writable side
    STATE/mounted-images/HEX/mount.json      the image, its layers, and how many have asked for it: the last one's unmount ends it
    STATE/mounted-images/lock                held by whoever changes any of this

It is the one mount that crate makes in the namespace of its caller, and so root's alone: what an ordinary user mounts in a
namespace of his own nobody else would see, and it would end with the command. The record is there before the mount and goes
after it, so that the layers are kept for as long as somebody may look at them, and a mount that nobody knows of cannot be.
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.errors import Conflict, CrateError, StorageError, Unsupported
from cratebox.linux import const, lock, mount
from cratebox.paths import Paths, private_directory
from cratebox.record import Record
from cratebox.runtime import overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.engine.images import Images
    from cratebox.image.store import StoredImage

_HEX = frozenset("0123456789abcdef")
_EBUSY = 16


class ImageMount(Record):
    """An image that is mounted, or is about to be. `image` is its ID, `layers` its diff IDs,
    `count` how often it was asked for.
    """

    image: str
    layers: tuple[str, ...]
    count: int = 1


def _base(paths: Paths) -> str:
    return paths.state + "/mounted-images"


def place(paths: Paths, image: str) -> str:
    """Return where the image of this ID is mounted, or would be."""
    return f"{_base(paths)}/{image.partition(':')[2]}/root"


def _record(paths: Paths, image: str) -> str:
    return f"{os.path.dirname(place(paths, image))}/mount.json"


def begin(images: Images, image: StoredImage) -> str:
    """Mount an image, or count once more one that is mounted; return where. The caller holds the store: see `Images.using`.

    Raises Unsupported for an ordinary user and where the kernel refuses, StorageError, RuntimeFailure.
    """
    if images.identity.rootless:
        raise Unsupported(
            "cannot mount an image: only root can do that where other programs see it",
            "crate create IMAGE and crate export give its files, crate image diff their names",
        )
    directories, paths = images.store.layer_directories(image), images.paths
    private_directory(paths.state)
    private_directory(_base(paths))
    held = lock.hold(_base(paths) + "/lock")
    try:
        return _begin(paths, image, directories)
    except OSError as error:
        raise StorageError(f"cannot mount image {image.id}: {error.strerror}") from None
    finally:
        lock.release(held)


def _begin(paths: Paths, image: StoredImage, directories: tuple[str, ...]) -> str:
    where = place(paths, image.id)
    mounted = os.path.ismount(where)
    known = _read(paths, image.id) if mounted else None
    os.makedirs(where, 0o700, exist_ok=True)
    record_file.write(_record(paths, image.id), ImageMount(image.id, image.layers, known.count + 1 if known else 1))
    if not mounted:
        try:
            _mount(directories, where)
        except BaseException:
            _forget(paths, image.id)
            raise
    return where


def _mount(directories: tuple[str, ...], where: str) -> None:
    """An overlay without a writable side wants two directories at least: one that is empty lies below all."""
    empty = os.path.dirname(where) + "/empty"
    os.makedirs(empty, 0o700, exist_ok=True)
    overlay.mount_for_reading((empty, *directories), where)


def end(paths: Paths, image: str, force: bool = False) -> bool:
    """Take back one request for an image's mount, or all with `force`; unmount it with the last. Tell whether it was mounted.

    Raises Conflict where somebody is in it, StorageError.
    """
    if not os.path.isdir(_base(paths)):
        return False
    held = lock.hold(_base(paths) + "/lock")
    try:
        return _end(paths, image, force)
    except OSError as error:
        if error.errno == _EBUSY:
            raise Conflict(f"image {image} is mounted, and somebody is in it", f"fuser -vm {place(paths, image)}") from None
        raise StorageError(f"cannot unmount image {image}: {error.strerror}") from None
    finally:
        lock.release(held)


def _end(paths: Paths, image: str, force: bool) -> bool:
    mounted, known = os.path.ismount(place(paths, image)), _read(paths, image)
    if mounted and known is not None and known.count > 1 and not force:
        record_file.write(_record(paths, image), known.replace(count=known.count - 1))
        return True
    if mounted:
        mount.unmount(place(paths, image), const.UMOUNT_NOFOLLOW)
    _forget(paths, image)
    return mounted


def _read(paths: Paths, image: str) -> ImageMount | None:
    """A record that is damaged counts as none: what it says must not keep the mount from being ended."""
    try:
        return record_file.read(_record(paths, image), ImageMount)
    except StorageError:
        return None


def _forget(paths: Paths, image: str) -> None:
    """Take away what lies around a mount that is not there any more. Raises OSError where it is."""
    where = os.path.dirname(place(paths, image))
    for name in ("root", "empty"):
        if os.path.isdir(f"{where}/{name}"):
            os.rmdir(f"{where}/{name}")
    for name in os.listdir(where) if os.path.isdir(where) else ():
        os.unlink(f"{where}/{name}")
    if os.path.isdir(where):
        os.rmdir(where)


def listed(paths: Paths) -> list[ImageMount]:
    """Return the images that are mounted in the caller's mount namespace."""
    return [_read(paths, image) or ImageMount(image, ()) for image in _images(paths) if os.path.ismount(place(paths, image))]


def used(paths: Paths) -> Iterator[ImageMount]:
    """Yield what must stay in the store for the sake of mounts: of those there are,
    and of those that somebody is just making.
    """
    try:
        making = lock.is_held(_base(paths) + "/lock")
    except OSError:
        making = True
    for image in _images(paths):
        if making or os.path.ismount(place(paths, image)):
            yield _read(paths, image) or ImageMount(image, ())


def clear(paths: Paths) -> list[str]:
    """End all mounts that nobody is in, and take away what killed commands have left; return a line for each mount."""
    ended = []
    for image in _images(paths):
        try:
            if end(paths, image, force=True):
                ended.append(f"mount of image {image}")
        except CrateError:
            continue  # somebody is in it
    return ended


def _images(paths: Paths) -> Iterator[str]:
    try:
        names = sorted(os.listdir(_base(paths)))
    except OSError:
        return
    for name in names:
        if len(name) == 64 and _HEX.issuperset(name):
            yield f"sha256:{name}"
