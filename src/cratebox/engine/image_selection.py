"""Which images `images` is asked for: by --filter, and by name. (Docker's daemon/images/images.go)"""

from __future__ import annotations

from fnmatch import fnmatchcase

from cratebox.engine.filters import Filters
from cratebox.engine.times import moment
from cratebox.engine.words import boolean
from cratebox.errors import InvalidValue
from cratebox.image import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cratebox.image.store import StoredImage

KEYS = ("dangling", "label", "before", "since", "until", "reference")


def select(found: Iterable[StoredImage], filters: Filters, get: Callable[[str], StoredImage]) -> list[StoredImage]:
    """Return those of `found` that all filters let through, with those of their names that do; newest first.

    `get` finds the image of `before` and `since`. Raises InvalidValue, and what `get` raises.
    """
    before = [get(name).made for name in filters.all("before")]
    since = [get(name).made for name in filters.all("since")]
    until = [moment(value, "filter until") / 1e9 for value in filters.all("until")]
    dangling = [boolean(value, "--filter dangling") for value in filters.all("dangling")]

    def fits(image: StoredImage) -> bool:
        return (
            filters.labels(image.config.labels)
            and all(bool(image.names) != wanted for wanted in dangling)
            and all(image.made < time for time in (*before, *until))
            and all(image.made > time for time in since)
        )

    wanted = filters.all("reference")
    chosen = [_named(image, wanted) if wanted else image for image in found if fits(image)]
    return sorted((image for image in chosen if image.names or not wanted), key=lambda image: image.made, reverse=True)


def _named(image: StoredImage, wanted: Iterable[str]) -> StoredImage:
    return image.replace(names=tuple(name for name in image.names if any(matches(name, one) for one in wanted)))


def matches(name: str, wanted: str) -> bool:
    """Tell whether an image's full name is what `wanted` says: REPOSITORY (each of its tags), REPOSITORY:TAG, or a pattern of
    fnmatch(3). Raises InvalidValue for what is neither.
    """
    try:
        known = reference.parse(name)
    except InvalidValue:
        return name == wanted
    repository, tag = known.familiar_name, known.tag or ""
    if set("*?[").intersection(wanted):
        return fnmatchcase(repository, wanted) or fnmatchcase(f"{repository}:{tag}", wanted)
    parsed = reference.parse(wanted)
    return repository == parsed.familiar_name and (":" not in wanted.rpartition("/")[2] or tag == parsed.tag)
