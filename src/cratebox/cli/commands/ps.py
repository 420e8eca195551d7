"""crate ps: what containers there are."""

from __future__ import annotations

import time

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "CreatedAt": "CREATED AT",
    "Status": "STATUS", "State": "STATE", "Ports": "PORTS", "Names": "NAMES", "Labels": "LABELS", "ImageID": "IMAGE ID",
    "Pid": "PID",
}  # fmt: skip

COMMAND = Command(
    name="ps",
    arguments="",
    summary="List containers",
    flags=(
        Flag("all", "a", help="also those that do not run"),
        Flag("quiet", "q", help="print IDs alone"),
        Flag("no-trunc", help="do not shorten IDs and commands"),
        Flag("last", "n", "N", "the N newest, in whatever state"),
        Flag("latest", "l", help="the newest, in whatever state"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Names}}: {{.Status}}'"),
    ),
    later=("f/filter", "s/size"),
    description="List the containers that run, or with -a all of them, the newest first.",
    examples=(("crate ps -a", "all"), ("crate ps --format 'table {{.Names}}\\t{{.Status}}'", "two columns")),
    exit_codes=(("0", "always, save where the state cannot be read (125)"),),
)


def main(words: Words) -> int:
    """Print the list."""
    count = 1 if words.yes("latest") else words.number("last", -1)
    whole = count is not None and count > 0
    found = open_engine(words).containers.list(all=words.yes("all") or whole)
    found = sorted(found, key=lambda status: status.created, reverse=True)
    if whole:
        found = found[:count]
    rows = [_row(status, words.yes("no-trunc")) for status in found]
    if words.yes("quiet") and not words.given("format"):
        for row in rows:
            render.line(row["ID"])
        return 0
    columns = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
    render.listing(rows, _HEADERS, columns, words.text("format"))
    return 0


def _row(status: Any, whole: bool) -> dict[str, Any]:
    now = time.time()
    command = safe(" ".join(status.command))
    return {
        "ID": status.id if whole else render.short_id(status.id),
        "Image": status.image,
        "ImageID": status.image_id,
        "Command": f'"{command if whole else render.ellipsis(command, 20)}"',
        "RunningFor": f"{render.duration(now - status.created)} ago",
        "CreatedAt": render.local_time(status.created),
        "Status": status_text(status, now),
        "State": status.status,
        "Ports": "",
        "Names": status.name,
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(status.labels.items())),
        "Pid": status.pid,
    }


def status_text(status: Any, now: float) -> str:
    """Return a container's status as Docker words it: Up 2 hours, Exited (0) 5 seconds ago, Created."""
    since = status.started_at if status.status in ("running", "paused") else status.finished_at
    age = render.duration(now - since) if since else None
    if status.status in ("running", "paused"):
        return ("Up " + age if age else "Up") + (" (Paused)" if status.status == "paused" else "")
    if status.status == "exited":
        code = "?" if status.exit_code is None else status.exit_code
        return f"Exited ({code})" + (f" {age} ago" if age else "")
    return str(status.status).capitalize()
