"""crate images: what is in the store."""

from __future__ import annotations

import sys
import time

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cratebox.engine.images import Images
    from cratebox.image.store import StoredImage

_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS",
}  # fmt: skip
_NONE = "<none>"

COMMAND = Command(
    name="images",
    arguments="[REPOSITORY[:TAG]]",
    summary="List images",
    flags=(
        Flag("all", "a", help="all images (there are no hidden ones: for Docker's sake)"),
        Flag("digests", help="show the digests of their manifests"),
        Flag("no-trunc", help="do not shorten IDs"),
        Flag("quiet", "q", help="print IDs alone"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Repository}}:{{.Tag}}'"),
    ),
    least=0,
    most=1,
    completes="image",
    later=("f/filter", "tree"),
    description="List the images in the store, the newest first, a line for each of their names.",
    examples=(
        ("crate images alpine", "those of one name"),
        ("crate images --format '{{.ID}} {{.Size}}'", "as a script wants it"),
    ),
    exit_codes=(("0", "done"), ("1", "an image is damaged; the others are listed"), ("125", "the store cannot be read")),
)


def main(words: Words) -> int:
    """Print the list."""
    images = open_engine(words).images
    found = sorted(images.list(), key=lambda image: render.timestamp(image.created) or 0, reverse=True)
    wanted = words.arguments[0] if words.arguments else None
    rows = [row for image in found for row in _rows(image, words.yes("no-trunc")) if wanted is None or _matches(row, wanted)]
    if words.yes("quiet") and not words.given("format"):
        for identifier in dict.fromkeys(row["ID"] for row in rows):
            render.line(identifier)
        return 0
    columns = ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
    if not words.yes("digests"):
        columns.remove("Digest")
    render.listing(rows, _HEADERS, columns, words.text("format"))
    return _complain(images)


def _complain(images: Images) -> int:
    """Say which images are damaged; they hide none of the others."""
    damaged = images.damaged()
    sys.stdout.flush()
    for name, error in damaged:
        render.complain(StorageError(f"{name} is {error.message}", f"crate pull {name}, or crate rmi {name}"), "crate images")
    return 1 if damaged else 0


def _rows(image: StoredImage, whole: bool) -> Iterator[dict[str, Any]]:
    created = render.timestamp(image.created)
    for repository, tag in names_of(image):
        yield {
            "Repository": repository,
            "Tag": tag,
            "Digest": _digest(image, repository),
            "ID": image.id if whole else render.short_id(image.id),
            "CreatedSince": f"{render.duration(time.time() - created)} ago" if created else "N/A",
            "CreatedAt": render.local_time(created) if created else "N/A",
            "Size": render.size(image.size),
            "Containers": "N/A",
        }


def _digest(image: StoredImage, repository: str) -> str:
    """The digest a registry knows it by: that of an index, where the name stands for one."""
    for known in image.repo_digests:
        name, _, digest = known.partition("@")
        if name.removeprefix("docker.io/").removeprefix("library/") == repository or name == repository:
            return digest
    return image.manifest_digest or _NONE


def names_of(image: StoredImage) -> list[tuple[str, str]]:
    """Return (repository, tag) of each name as Docker shows them."""
    from cratebox.errors import InvalidValue
    from cratebox.image import reference

    found = []
    for name in image.names:
        try:
            parsed = reference.parse(name)
        except InvalidValue:
            found.append((name, _NONE))
        else:
            found.append((parsed.familiar_name, parsed.tag or _NONE))
    return found or [(_NONE, _NONE)]


def _matches(row: dict[str, Any], wanted: str) -> bool:
    """REPOSITORY alone means each of its tags; it may be a pattern of fnmatch(3)."""
    from cratebox.image import reference

    if set("*?[").intersection(wanted):
        from fnmatch import fnmatchcase

        return fnmatchcase(row["Repository"], wanted) or fnmatchcase(f"{row['Repository']}:{row['Tag']}", wanted)
    parsed = reference.parse(wanted)
    tagged = ":" in wanted.rpartition("/")[2]
    return row["Repository"] == parsed.familiar_name and (not tagged or row["Tag"] == parsed.tag)
