"""`crate search`: repositories of a registry by a word, and which of them --filter lets through."""

from __future__ import annotations

from cratebox.engine.filters import Filters, parse
from cratebox.engine.pushing import speaking
from cratebox.engine.words import boolean, number
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cratebox.image.access import Access
    from cratebox.image.search import Found
    from cratebox.paths import Paths

KEYS = ("stars", "is-official", "is-automated")


def search(
    paths: Paths, term: str, limit: int, filters: Sequence[str], say: Callable[[str], None], access: Access | None = None
) -> Sequence[Found]:
    """Return what a registry has for `term`, at most `limit`. Raises InvalidValue, NotAllowed, RegistryError."""
    asked = parse(filters, KEYS)
    fits = _fits(asked)
    settings = speaking(paths, access)
    from cratebox.image import search as searching

    if not 0 < limit <= searching.MOST:
        raise InvalidValue(f"--limit is 1 to {searching.MOST}, not {limit}")
    return [one for one in searching.find(term, limit, settings, say) if fits(one)]


def _fits(asked: Filters) -> Callable[[Found], bool]:
    stars = [number(value, "--filter stars") for value in asked.all("stars")]
    official = [boolean(value, "--filter is-official") for value in asked.all("is-official")]
    automated = [boolean(value, "--filter is-automated") for value in asked.all("is-automated")]

    def fits(one: Found) -> bool:
        return (
            all(one.stars >= least for least in stars)
            and all(one.official == wanted for wanted in official)
            and all(one.automated == wanted for wanted in automated)
        )

    return fits
