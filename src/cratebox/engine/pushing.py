"""`crate push`: images of the store, to registries; and what is the same for all that speaks with one."""

from __future__ import annotations

import gc

from cratebox.engine import events, image_names
from cratebox.errors import InvalidValue, NotFound
from cratebox.image import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.images import Images
    from cratebox.image.access import Access
    from cratebox.image.progress import Progress
    from cratebox.image.push import Pushed
    from cratebox.image.reference import Reference
    from cratebox.image.settings import Settings
    from cratebox.paths import Paths


FORMATS = ("gzip", "zstd")  # of layers that are packed for a push


def push(
    images: Images, name: str, destination: str | None, platform: str | None, progress: Progress | None, form: str | None = None
) -> Pushed:
    """See Images.push."""
    if form not in (None, *FORMATS):
        raise InvalidValue(f"no such format of layers: {form}", f"one of {', '.join(FORMATS)}")
    from cratebox.engine.provision import check_platform

    try:
        image = images.store.find(images.known_as(name))
    except NotFound as error:
        raise image_names.unknown(images.store, name, error, here=True) from None
    check_platform(image, platform, name)
    target = references.parse(destination or name)
    settings = speaking(images.paths, images.access)
    from cratebox.image import push as pushing

    # What came from a registry is known there by its digests, and as it has come it goes.
    ours = not target.digest and not images.store.came_from_registry(image)
    top = images.store.manifest_descriptor(image)
    pushed = pushing.send(images.store, top, target, settings, progress, pack=ours, form=form)
    events.emit(images.paths, "image", "push", target.familiar, {"name": target.familiar})
    return pushed


def names_of(images: Images, name: str) -> list[Reference]:
    """Return the names with a tag that images have in the repository `name`. Raises InvalidValue, and NotFound for none."""
    _check_alone(name)
    repository = references.parse(name).name
    named = [references.parse(each) for image in images.list() for each in image.names if each.startswith(repository + ":")]
    found = sorted((each for each in named if each.name == repository and not each.digest), key=str)
    if not found:
        missing = NotFound(f"no image of {name} is in the store")
        raise image_names.unknown(images.store, name, missing, here=True)
    return found


def tags_of(images: Images, name: str, flag: str) -> tuple[str, ...]:
    """See Images.tags."""
    _check_alone(name, flag)
    reference = images.source(name).reference
    if reference is None:
        raise InvalidValue(f"{name} is no repository of a registry: {flag} wants one")
    settings = speaking(images.paths, images.access)
    from cratebox.image.mirrors import Mirrored

    registry = Mirrored(reference, settings)
    try:
        return registry.tags()
    finally:
        registry.close()


def _check_alone(name: str, flag: str = "--all-tags") -> None:
    if references.has_tag(name):
        raise InvalidValue(f"{name} has a tag or a digest: {flag} wants the name of a repository alone")


def speaking(paths: Paths, access: Access | None = None) -> Settings:
    """Make ready to speak with registries; return how. Raises InvalidValue for bad settings, NotFound as Access.check."""
    from cratebox.third_party import add_site_packages

    add_site_packages()
    gc.enable()  # see _entry.py: this is no short work
    from cratebox.image.settings import load

    settings = load(paths.config)
    return settings.replace(access=access.check()) if access is not None else settings
