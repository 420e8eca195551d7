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
    "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
}  # fmt: skip
_NONE = "<none>"

COMMAND = Command(
    name="images",
    arguments="[REPOSITORY[:TAG]]",
    summary="List images",
    flags=(
        Flag("all", "a", help="all images (there are no hidden ones: for Docker's sake)"),
        Flag(
            "filter", "f", "KEY=VALUE", "only those for which this holds: dangling=true, label=KEY, reference=a*", repeat=True
        ),
        Flag("digests", help="show the digests of their manifests"),
        Flag("no-trunc", help="do not shorten IDs"),
        Flag("quiet", "q", help="print IDs alone"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Repository}}:{{.Tag}}'"),
    ),
    least=0,
    most=1,
    completes="image",
    later=("tree",),
    description="""List the images in the store, the newest first, a line for each of their names. REPOSITORY may be a pattern.

Filters: dangling (true: without a name), label (KEY or KEY=VALUE), before and since (made before or after an image), until
(made before a time, or longer ago than 24h), reference (a name or a pattern). Values of reference are alternatives; keys must
all hold.""",
    examples=(
        ("crate images alpine", "those of one name"),
        ("crate images --format '{{.ID}} {{.Size}}'", "as a script wants it"),
    ),
    exit_codes=(("0", "done"), ("1", "an image is damaged; the others are listed"), ("125", "the store cannot be read")),
)


def main(words: Words) -> int:
    """Print the list."""
    images = open_engine(words).images
    filters = (*words.all("filter"), *(f"reference={name}" for name in words.arguments))
    found = sorted(images.list(filters), key=lambda image: image.made, reverse=True)
    rows = [row for image in found for row in _rows(image, words.yes("no-trunc"))]
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
    created = image.made
    for repository, tag in names_of(image):
        yield {
            "Repository": repository,
            "Tag": tag,
            "Digest": _digest(image, repository),
            "ID": image.id if whole else render.short_id(image.id),
            "CreatedSince": f"{render.duration(time.time() - created)} ago" if created else "N/A",
            "CreatedAt": render.local_time(created) if created else "N/A",
            "Size": render.size(image.size),
            **dict.fromkeys(("Containers", "SharedSize", "UniqueSize"), "N/A"),  # as Docker has them: see system df -v
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
