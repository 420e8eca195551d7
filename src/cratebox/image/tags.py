"""Which tags a repository of a registry has.

Format: OCI distribution-spec 1.1, "Listing Tags": pages, each with a Link to the next one (RFC 8288).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from cratebox import jsontext
from cratebox.errors import InvalidValue, NotFound, RegistryError
from cratebox.image.reference import check_tag
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.asking import Reply
    from cratebox.image.registry import Registry

MOST_TAGS = 10_000
_PAGE = 1000
_MAX_PAGE = 4 << 20  # bytes


def listed(registry: Registry) -> tuple[str, ...]:
    """Return the tags, in the registry's order. Raises NotFound, RegistryError, also where there are more than MOST_TAGS."""
    found: dict[str, None] = {}
    query: str | None = f"n={_PAGE}"
    while query is not None:
        reply = registry.request("GET", f"tags/list?{query}", {"Accept": "application/json"})
        if reply.status == 404:
            reply.drain()
            reference = registry.reference
            raise NotFound(
                f"no such image: {reference.registry} has no repository {reference.repository}", "check the spelling"
            )
        if reply.status != 200:
            raise registry.refusal(reply, "the list of tags")
        query = _next(reply)
        page = _tags(reply)
        if query is not None and not set(page) - found.keys():
            raise RegistryError(f"{reply.described}: the list of tags does not end")
        found.update(dict.fromkeys(page))
        if len(found) > MOST_TAGS:
            raise RegistryError(f"{reply.described}: there are more than {MOST_TAGS} tags")
    return tuple(found)


def _tags(reply: Reply) -> list[str]:
    try:
        document = jsontext.loads(reply.body(_MAX_PAGE))
    except jsontext.JSONError:
        document = None
    tags = document.get("tags") if isinstance(document, dict) else None
    if tags is None and isinstance(document, dict):
        return []  # Go's empty list
    if not isinstance(tags, list):
        raise RegistryError(f"{reply.described}: the answer is no list of tags")
    for tag in tags:
        try:
            check_tag("", tag if isinstance(tag, str) else "")
        except InvalidValue:
            raise RegistryError(f"{reply.described}: the answer has {shown(tag)}, which is no tag") from None
    return tags


def _next(reply: Reply) -> str | None:
    """Return the query of the next page. Of where the Link leads nothing else counts: it is asked at the same place."""
    for link in (reply.header("Link") or "").split(","):
        target, _, parameters = link.strip().partition(";")
        if target.startswith("<") and target.endswith(">") and 'rel="next"' in parameters.replace(" ", "").replace("'", '"'):
            query = urlsplit(target[1:-1]).query
            return query if all("!" <= character <= "~" for character in query) else None
    return None
