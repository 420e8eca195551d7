"""What a registry's search finds.

Docker Hub, and registries that do as it does, answer GET /v1/search?q=TERM&n=COUNT (Docker's registry API v1, "Search"). Others
have a catalogue, GET /v2/_catalog, in whose names the term is looked for. What comes back is text of strangers, and bounded.
"""

from __future__ import annotations

from urllib.parse import urlencode

from cratebox import jsontext
from cratebox.errors import InvalidValue, RegistryError
from cratebox.image import endpoints
from cratebox.image import reference as references
from cratebox.image.reference import DEFAULT_REGISTRY, Reference
from cratebox.image.registry import Registry
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from cratebox.image.asking import Reply
    from cratebox.image.settings import Settings

MOST = 100  # results, as Docker Hub gives at once
_HUB_SEARCH = "index.docker.io"
_MAX_ANSWER = 4 << 20  # bytes
_PAGE, _MOST_PAGES = 1000, 50
_LONGEST = 4096  # characters of a description
_MOST_STARS = (1 << 63) - 1  # what other tools have room for


class Found(Record):
    """A repository that was found. `name` is what can be pulled; a catalogue tells nothing else of it."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def find(text: str, limit: int, settings: Settings, say: Callable[[str], None]) -> list[Found]:
    """Return at most `limit` repositories for TERM, or REGISTRY/TERM, in the registry's own order.

    Raises InvalidValue, NotAllowed for a blocked registry, RegistryError.
    """
    registry_name, term = _split(text)
    # That registry's rules count, its mirrors do not: they have no search.
    endpoint = endpoints.to_write(Reference(registry_name, "search", references.DEFAULT_TAG), settings)
    host = _HUB_SEARCH if registry_name == DEFAULT_REGISTRY else registry_name
    registry = Registry(endpoint.reference.replace(registry=host), endpoint.settings, say, actions="")
    try:
        found = _search(registry, term, limit)
        if found is None:
            found = [Found(name) for name in _catalogue(registry, term, limit)]
    finally:
        registry.close()
    prefix = "" if registry_name == DEFAULT_REGISTRY else registry_name + "/"
    return [one.replace(name=prefix + one.name) for one in found[:limit]]


def _split(text: str) -> tuple[str, str]:
    head, slash, term = text.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        head, term = DEFAULT_REGISTRY, text
    else:
        references.parse(f"{head}/x")  # InvalidValue for what is no registry
    if not term or not term.isprintable() or len(term) > 255:
        raise InvalidValue(f"nothing to search for: {shown(text)}", "crate search TERM, or REGISTRY/TERM")
    return references.canonical_registry(head), term


def _search(registry: Registry, term: str, limit: int) -> list[Found] | None:
    """None: this registry has no such search."""
    reply = registry.send("GET", f"{registry.home()}/v1/search?{urlencode({'q': term, 'n': limit})}", {})
    if reply.status == 404:
        reply.drain()
        return None
    results = _answer(registry, reply, "results")
    return [_found(one, reply) for one in results]


def _found(value: Any, reply: Reply) -> Found:
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        raise RegistryError(f"{reply.described}: a result of the search has no name")
    description, stars = value.get("description"), value.get("star_count")
    return Found(
        name,
        description[:_LONGEST] if isinstance(description, str) else "",
        stars if isinstance(stars, int) and not isinstance(stars, bool) and 0 <= stars <= _MOST_STARS else 0,
        value.get("is_official") is True,
        value.get("is_automated") is True,
    )


def _catalogue(registry: Registry, term: str, limit: int) -> Iterator[str]:
    """Yield the names with `term` in them, page by page. (OCI distribution-spec has none; Docker's registry: "Catalog")"""
    last, count = "", 0
    for _ in range(_MOST_PAGES):
        words = {"n": _PAGE} | ({"last": last} if last else {})
        reply = registry.send("GET", f"{registry.home()}/v2/_catalog?{urlencode(words)}", {})
        names = [name for name in _answer(registry, reply, "repositories") if isinstance(name, str)]
        for name in names:
            if term in name:
                yield name
                count += 1
        if count >= limit or not names or names[-1] == last or not reply.header("Link"):
            return
        last = names[-1]


def _answer(registry: Registry, reply: Reply, key: str) -> list[Any]:
    if reply.status != 200:
        raise registry.refusal(reply, "an answer to a search")
    try:
        document = jsontext.loads(reply.body(_MAX_ANSWER))
    except jsontext.JSONError as error:
        raise RegistryError(f"{reply.described}: the answer is not JSON: {shown(str(error))}") from None
    found = document.get(key) if isinstance(document, dict) else None
    if found is None and isinstance(document, dict):
        return []
    if not isinstance(found, list):
        raise RegistryError(f"{reply.described}: the answer is not that of a search")
    return found
