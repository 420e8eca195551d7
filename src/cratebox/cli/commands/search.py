"""crate search: repositories of a registry."""

from __future__ import annotations

import sys

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access
from cratebox.image import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.search import Found

COMMAND = Command(
    name="search",
    arguments="[REGISTRY/]TERM",
    summary="Search a registry for images",
    flags=(
        Flag("filter", "f", "KEY=VALUE", "only those for which this holds: stars=3, is-official=true", repeat=True),
        Flag("limit", metavar="N", default="25", help="at most so many results, 1 to 100"),
        Flag("list-tags", help="the tags that a repository has, all of them unless there is a --limit"),
        Flag("no-trunc", help="do not shorten descriptions"),
        *FLAGS,
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Name}}: {{.StarCount}}'"),
    ),
    least=1,
    most=1,
    later=("compatible",),
    description="""Ask Docker Hub, or REGISTRY, which repositories it has for TERM. A registry that has no search is asked for
all of its names, of which those are shown that have TERM in them. The filters are applied to the results: stars (at least so
many), is-official, is-automated.""",
    examples=(
        ("crate search --filter is-official=true python", "of Docker Hub"),
        ("crate search registry.example:5000/app", "of another registry"),
        ("crate search --list-tags registry.example:5000/team/app", "what can be pulled of it"),
    ),
    exit_codes=(("0", "it has answered"), ("125", "it has not")),
)

_HEADERS = {
    "Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL", "IsAutomated": "AUTOMATED",
}  # fmt: skip
_WIDTH = 45  # characters of a description, as Docker cuts it


def main(words: Words) -> int:
    """Print what was found."""
    limit = words.number("limit", 1)
    assert limit is not None, "it has a default"
    form = words.text("format")
    if words.yes("list-tags"):
        return _list_tags(words, limit)
    found = open_engine(words, access(words)).images.search(words.arguments[0], limit, words.all("filter"), _say)
    rows = [_row(one, words.yes("no-trunc"), form == "json") for one in found]
    render.listing(rows, _HEADERS, ("Name", "Description", "StarCount", "IsOfficial"), form)
    return 0


def _list_tags(words: Words, limit: int) -> int:
    if words.all("filter"):
        raise words.wrong("--filter is for repositories, not for --list-tags")
    name = words.arguments[0]
    tags = open_engine(words, access(words)).images.tags(name, "--list-tags")
    called = str(references.parse(name)).rpartition(":")[0]
    rows = [{"Name": called, "Tag": tag} for tag in (tags[:limit] if words.given("limit") else tags)]
    render.listing(rows, {"Name": "NAME", "Tag": "TAG"}, ("Name", "Tag"), words.text("format"))
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _row(found: Found, whole: bool, as_json: bool) -> dict[str, Any]:
    description = " ".join(found.description.split())
    true, false = ("true", "false") if as_json else ("[OK]", "")
    return {
        "Name": found.name,
        "Description": description if whole else render.ellipsis(description, _WIDTH),
        "StarCount": str(found.stars),
        "IsOfficial": true if found.official else false,
        "IsAutomated": true if found.automated else false,
    }
