"""crate history: the steps in which an image was made."""

from __future__ import annotations

import time

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.image_history import Step

COMMAND = Command(
    name="history",
    arguments="IMAGE",
    summary="Show the steps in which an image was made",
    flags=(
        Flag("human", "H", default="true", help="sizes and times for people; --human=false: bytes, and the date"),
        Flag("no-trunc", help="do not shorten IDs and commands"),
        Flag("quiet", "q", help="print IDs alone"),
        Flag("platform", metavar="OS/ARCH[/VARIANT]", help="an error where the image is for another one"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.CreatedBy}}: {{.Size}}'"),
    ),
    least=1,
    most=1,
    completes="image",
    description="""Show the steps that an image's config tells of, the last one first: when, by which command, and how large the
files are that it has left. A step that changed no file has 0B. Layers of which no step tells come first, with nothing but their
size. Only the last step has an ID, the image's: what was there in between is no image.""",
    examples=(
        ("crate history alpine", "a line for each step"),
        ("crate history --no-trunc --format '{{.CreatedBy}}' alpine", "the whole commands"),
    ),
    exit_codes=(("0", "it was shown"), ("125", "there is no such image")),
)

_HEADERS = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip
_WIDTH = 45  # characters of a command, as Docker cuts it


def main(words: Words) -> int:
    """Print the steps."""
    human, whole = words.yes("human"), words.yes("no-trunc")
    steps = open_engine(words).images.history(words.arguments[0], platform=words.text("platform"))
    rows = [_row(step, human, whole) for step in steps]
    if words.yes("quiet") and not words.given("format"):
        for row in rows:
            render.line(row["ID"])
        return 0
    columns = ("ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment")
    render.listing(rows, _HEADERS, columns, words.text("format"))
    return 0


def _row(step: Step, human: bool, whole: bool) -> dict[str, Any]:
    created_by = step.created_by.replace("\t", " ")
    created_at = _date(step.created) if step.created else "N/A"
    since = f"{render.duration(time.time() - step.created)} ago" if step.created else "N/A"
    return {
        "ID": (step.image if whole else render.short_id(step.image)) or "<missing>",
        "CreatedSince": since if human else created_at,
        "CreatedAt": created_at,
        "CreatedBy": created_by if whole else render.ellipsis(created_by, _WIDTH),
        "Size": render.size(step.size) if human else str(step.size),
        "Comment": step.comment,
    }


def _date(seconds: float) -> str:
    """RFC 3339 in local time, as Go writes it."""
    from datetime import UTC, datetime

    try:
        when = datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError):  # an image may say the last second of the year 9999, which is later yet in the east
        when = datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")
