"""`crate save`: images as a file, or a directory, that this and other engines load.

What is in it is image/archive_writing.py's; here is which images a name means, and where the bytes go.
"""

from __future__ import annotations

import os

from cratebox.engine.exporting import Refused, new_file, put
from cratebox.engine.provision import check_platform
from cratebox.errors import DISK_FULL, Conflict, InvalidValue, StorageError, UsageError
from cratebox.image import archive_writing
from cratebox.image import reference as references
from cratebox.image.archive_writing import DOCKER_ARCHIVE, FORMS, OCI_DIRECTORY, Chosen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cratebox.engine.images import Images
    from cratebox.image.store import Store, StoredImage

__all__ = ["DOCKER_ARCHIVE", "FORMS", "OCI_DIRECTORY", "save"]


def save(
    images: Images, names: Sequence[str], to: int | str, form: str = DOCKER_ARCHIVE, platform: str | None = None
) -> list[Chosen]:
    """Write the images `names` to a descriptor, or to a path: there it is whole, or not at all. `form` is one of FORMS.

    A name without a tag means all tags of its repository, as with Docker; one by ID has no name in the archive. With `platform`
    images for another one are refused. Returns what was written. Raises NotFound, Conflict, InvalidValue, UsageError,
    StorageError, BrokenPipeError.
    """
    if form not in FORMS:
        raise InvalidValue(f"no such form of an archive: {form}", f"one of {', '.join(FORMS)}")
    if form == OCI_DIRECTORY and isinstance(to, int):
        raise UsageError("a directory cannot go to standard output", "-o DIRECTORY")
    store = images.store
    with store.using():
        chosen = _chosen(images, names)
        for one in chosen:
            check_platform(one.image, platform, one.names[0] if one.names else one.image.id)
        if isinstance(to, int):
            _write(store, chosen, form, to, "the archive", holes=False)
        elif form == OCI_DIRECTORY:
            _new_directory(store, chosen, to)
        else:
            new_file(to, lambda fd, holes: _write(store, chosen, form, fd, to, holes))
    return chosen


def _chosen(images: Images, names: Sequence[str]) -> list[Chosen]:
    """Return each image once, with all the names by which it was asked for."""
    by_digest: dict[str, Chosen] = {}
    for name in names:
        for image, called in _meant(images, name):
            before = by_digest.get(image.manifest_digest, Chosen(image, ()))
            by_digest[image.manifest_digest] = before.replace(names=tuple(dict.fromkeys((*before.names, *called))))
    return list(by_digest.values())


def _meant(images: Images, name: str) -> list[tuple[StoredImage, tuple[str, ...]]]:
    """Return the images that a name means, each with the canonical names that it means."""
    if not references.has_tag(name):
        tags = _all_tags(images, name)
        if tags:
            return tags
    image = images.get(name)
    return [(image, tuple(one for one in image.names if "@" not in one and _means(one, name)))]


def _all_tags(images: Images, name: str) -> list[tuple[StoredImage, tuple[str, ...]]]:
    try:
        repository = references.parse(name).name + ":"
    except InvalidValue:
        return []  # an ID
    tags = [
        (image, tuple(one for one in image.names if one.startswith(repository) and "@" not in one)) for image in images.list()
    ]
    return [(image, called) for image, called in tags if called]


def _means(canonical: str, name: str) -> bool:
    try:
        return "@" not in name and canonical == str(references.parse(name))
    except InvalidValue:
        return False


def _write(store: Store, chosen: Sequence[Chosen], form: str, fd: int, name: str, holes: bool) -> None:
    try:
        put(fd, archive_writing.archive(store, chosen, form), holes)
    except Refused as failed:
        if isinstance(failed.error, BrokenPipeError):
            raise BrokenPipeError from None
        hint = "make room on that disk" if failed.error.errno in DISK_FULL else None
        raise StorageError(f"cannot write {name}: {failed.error.strerror}", hint) from None


def _new_directory(store: Store, chosen: Sequence[Chosen], path: str) -> None:
    """Write the layout beside, and give it its name when it is whole. An empty directory may be there."""
    target = os.path.realpath(path)
    temporary = f"{target}.{os.getpid()}.new"
    try:
        if os.path.lexists(target) and os.listdir(target):
            raise Conflict(f"cannot write {path}: there is something in it", "name a directory that is not there")
        os.mkdir(temporary, 0o700)  # as new_file: in images there may be what is nobody else's business
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    try:
        archive_writing.directory(store, chosen, temporary)
        os.rename(temporary, target)
    except BaseException as error:
        from shutil import rmtree

        rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            hint = "make room on that disk" if error.errno in DISK_FULL else None
            raise StorageError(f"cannot write {path}: {error.strerror}", hint) from None
        raise
