"""crate volume ls: what volumes there are."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.volumes import Volume

HEADERS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Availability": "AVAILABILITY", "Group": "GROUP", "Labels": "LABELS",
    "Links": "LINKS", "Mountpoint": "MOUNTPOINT", "Scope": "SCOPE", "Size": "SIZE", "Status": "STATUS",
}  # fmt: skip
COMMAND = Command(
    name="ls",
    arguments="",
    summary="List volumes",
    flags=(
        Flag("quiet", "q", help="print names alone"),
        Flag(
            "filter",
            "f",
            "KEY=VALUE",
            "dangling=true (no container has it), driver=, label=KEY[=VALUE], name=PART",
            repeat=True,
        ),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Name}} {{.Mountpoint}}'"),
    ),
    later=("cluster", "n/noheading"),
    description="List the volumes in your store by name.",
    examples=(("crate volume ls -qf dangling=true", "those that no container has"),),
    exit_codes=(("0", "they were listed"), ("125", "a filter is wrong, or the store cannot be read")),
)


def main(words: Words) -> int:
    """Print the list."""
    volumes = open_engine(words).volumes
    found = volumes.list(words.all("filter"))
    if words.yes("quiet") and not words.given("format"):
        for volume in found:
            render.line(volume.name)
        return 0
    rows = [row(one, volumes.data(one)) for one in found]
    render.listing(rows, {**HEADERS, "Label": lambda name: name}, ("Driver", "Name"), words.text("format"))
    return 0


def row(volume: Volume, place: str, links: int | str = "N/A", size: str = "N/A") -> dict[str, Any]:
    """Return a line of the list, with Docker's names."""
    return {
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(volume.labels.items())),
        "Label": lambda name: volume.labels.get(name, ""),
        "Links": links,
        "Mountpoint": place,
        "Name": volume.name,
        "Scope": "local",
        "Size": size,
        "Status": "N/A",
    }
