"""What to say of an image that is not in the store: the names that are like its own, or else where to get it."""

from __future__ import annotations

from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.image import index
from cratebox.image import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.store import Store

_LISTED = "crate images lists what there is"
_SHORT_ID = 12  # digits; a name of so many that are all of an ID's alphabet is no name


def unknown(store: Store, name: str, error: NotFound, *, here: bool = False) -> NotFound:
    """Return the error of a name that no image of the store has. `here`: it is of no use to pull it first."""
    if near := _near(store, name):
        return NotFound(error.message, f"{near} {_LISTED}")
    digits = name.removeprefix("sha256:")
    is_id = len(digits) >= _SHORT_ID and set(digits) <= set("0123456789abcdef")
    return NotFound(error.message, _LISTED if here or is_id else error.hint or _LISTED)


def _near(store: Store, name: str) -> str | None:
    """Compare with names as people write them; one without a tag is compared with repositories."""
    from difflib import get_close_matches

    try:
        wanted = references.parse(name).familiar.removesuffix(":latest")
        known = [references.familiar(each) for each in map(index.name_of, index.read(store.directory)) if each]
    except (InvalidValue, StorageError):
        return None
    tagged = ":" in wanted.rpartition("/")[2]
    # What was written without a tag means :latest: where the repository is there with others, one of these was meant.
    found = {(each if tagged else each.rpartition(":")[0]): each for each in reversed(known) if "@" not in each}
    near = [found[each] for each in get_close_matches(wanted, list(found), 2)]
    return f"did you mean {' or '.join(near)}?" if near else None
