"""crate system df: what takes the disk's space."""

from __future__ import annotations

import time

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.commands.images import names_of
from cratebox.cli.commands.ps import status_text
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import UsageError
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from cratebox.engine.usage import ContainerUsage, ImageUsage, Usage, VolumeUsage

COMMAND = Command(
    name="df",
    arguments="",
    summary="Show what takes the disk's space",
    flags=(
        Flag("verbose", "v", help="each image, container and volume"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Type}}: {{.Size}}'"),
    ),
    description="""Show how much images, containers and logs need, and how much of that goes with what nobody uses (crate system
prune). Sizes are those of the files, as Docker counts them; layers that images share count once. Image Blobs are the layers as
they were pulled, compressed, which crate keeps beside the unpacked ones. Of a volume only what
is in crate's own store counts. There is no build cache yet. On Disk is what all of it takes there, as du(1) counts: whole
blocks, and directories.""",
    examples=(("crate system df -v", "what each one needs"),),
    exit_codes=(("0", "it was shown"), ("125", "the store cannot be read: crate system check")),
)

_HEADERS = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"}
_IMAGES = {
    "Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE",
    "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
}  # fmt: skip
_CONTAINERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
    "RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES",
}  # fmt: skip
_VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
_BUILDS = {
    "ID": "CACHE ID", "Type": "CACHE TYPE", "Size": "SIZE", "Created": "CREATED", "LastUsed": "LAST USED", "Usage": "USAGE",
    "Shared": "SHARED",
}  # fmt: skip


def main(words: Words) -> int:
    """Print the table, or the four of them."""
    form = words.text("format")
    usage = open_engine(words).usage()
    if not words.yes("verbose"):
        render.listing([_row(row) for row in usage.rows], _HEADERS, tuple(_HEADERS), form)
    elif form == "json":
        print(render.json_line(_document(usage)))
    elif form is None:
        _print_all(usage)
    else:
        raise UsageError("--verbose has tables of its own", "leave --format away, or say --format json")
    return 0


def _row(row: Any) -> dict[str, Any]:
    share = f" ({row.reclaimable * 100 // row.size}%)" if row.size else ""
    return {
        "Type": row.kind,
        "TotalCount": row.total,
        "Active": row.active,
        "Size": render.size(row.size),
        "Reclaimable": render.size(row.reclaimable) + share,
    }


def _print_all(usage: Usage) -> None:
    for title, rows, headers in (
        ("Images space usage:", list(_images(usage.images)), _IMAGES),
        ("Containers space usage:", list(map(_container, usage.containers)), _CONTAINERS),
        ("Local Volumes space usage:", [_volume(one) for one in usage.volumes], _VOLUMES),
        ("Build cache usage: 0B", [], _BUILDS),
    ):
        render.line(title + "\n", keep="\n")
        render.listing(rows, headers, tuple(headers), None)
        render.line()


def _document(usage: Usage) -> dict[str, Any]:
    return {
        "Images": list(_images(usage.images)),
        "Containers": list(map(_container, usage.containers)),
        "Volumes": [_volume(one) for one in usage.volumes],
        "BuildCache": [],
    }


def _images(images: Sequence[ImageUsage]) -> Iterator[dict[str, Any]]:
    now = time.time()
    for one in images:
        created = one.image.made
        for repository, tag in names_of(one.image):
            yield {
                "Repository": repository,
                "Tag": tag,
                "ID": render.short_id(one.image.id),
                "CreatedSince": f"{render.duration(now - created)} ago" if created else "N/A",
                "Size": render.size(one.shared + one.unique),
                "SharedSize": render.size(one.shared),
                "UniqueSize": render.size(one.unique),
                "Containers": one.containers,
            }


def _volume(one: VolumeUsage) -> dict[str, Any]:
    return {"Name": one.volume.name, "Links": one.links, "Size": render.size(one.size)}


def _container(one: ContainerUsage) -> dict[str, Any]:
    now, status = time.time(), one.status
    return {
        "ID": render.short_id(status.id),
        "Image": status.image,
        "Command": f'"{render.ellipsis(safe(" ".join(status.command)), 20)}"',
        "LocalVolumes": sum(mount.kind == "volume" for mount in status.mounts),
        "Size": render.size(one.size.written),
        "RunningFor": f"{render.duration(now - status.created)} ago",
        "Status": status_text(status, now),
        "Names": status.name,
    }
