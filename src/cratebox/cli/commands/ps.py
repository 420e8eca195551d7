"""crate ps: what containers there are."""

from __future__ import annotations

import time

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cratebox.engine.records import ContainerStatus
    from cratebox.engine.sizes import ContainerSize
    from cratebox.network.model import Port


def _label_header(name: str) -> str:
    """A column of one label has the last part of the label's name above it."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


_HEADERS = {
    "Label": _label_header,
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "CreatedAt": "CREATED AT",
    "Status": "STATUS", "State": "STATE", "Ports": "PORTS", "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS",
    "Networks": "NETWORKS", "LocalVolumes": "LOCAL VOLUMES", "ImageID": "IMAGE ID", "Pid": "PID",
    "Size": "SIZE",
}  # fmt: skip
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")

COMMAND = Command(
    name="ps",
    arguments="",
    summary="List containers",
    flags=(
        Flag("all", "a", help="also those that do not run"),
        Flag("filter", "f", "KEY=VALUE", "only those for which this holds: status=exited, name=web, label=KEY", repeat=True),
        Flag("quiet", "q", help="print IDs alone"),
        Flag("no-trunc", help="do not shorten IDs, commands and mounts"),
        Flag("last", "n", "N", "the N newest, in whatever state"),
        Flag("latest", "l", help="the newest, in whatever state"),
        Flag("size", "s", help="measure what each has written, and with its image (takes time)"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Names}}: {{.Status}}'"),
    ),
    description="""List the containers that run, or with -a all of them, the newest first.

Filters: id (its beginning), name (a part, or a regular expression), label (KEY or KEY=VALUE), status (created, restarting,
running, paused, exited, dead), exited (a code), ancestor (an image), before and since (a container), health (starting, healthy,
unhealthy, none), network, publish and expose (a port of the container, or a range), volume (a source or a target), is-task.
Values of one key are alternatives, save of label; keys must all hold.""",
    examples=(
        ("crate ps -a", "all"),
        ("crate ps -a --filter status=exited --filter label=ci", "what has ended, of those with the label"),
        ("crate ps --format 'table {{.Names}}\\t{{.Status}}'", "two columns"),
    ),
    exit_codes=(("0", "always, save where the state cannot be read or a filter is wrong (125)"),),
)


def main(words: Words) -> int:
    """Print the list."""
    last = 1 if words.yes("latest") else words.number("last", -1) or 0
    containers = open_engine(words).containers
    found = containers.list(all=words.yes("all"), filters=words.all("filter"), last=max(last, 0))
    fields = _FIELDS | _WHOLE if words.yes("no-trunc") else _FIELDS
    form = words.text("format")
    if words.yes("quiet") and not form:
        for one in found:
            render.line(fields["ID"](one))
        return 0
    columns: tuple[str, ...] = _COLUMNS
    published = containers.published(found) if any(one.networks for one in found) else {}
    fields = fields | {"Ports": lambda one: _ports(one, published.get(one.id, ()))}
    if words.yes("size") or ".Size" in (form or ""):
        sizes = containers.sizes(found)
        columns = (*_COLUMNS, "Size")
        fields = fields | {"Size": lambda one: _size(sizes[one.id])}
    names = columns if form in (None, "", "table") else tuple(sorted(fields))
    render.listing([{name: fields[name](one) for name in names} for one in found], _HEADERS, columns, form or None)
    return 0


def _size(size: ContainerSize) -> str:
    return f"{render.size(size.written)} (virtual {render.size(size.root)})"


def _ports(status: ContainerStatus, published: Sequence[Port]) -> str:
    if not status.alive or not (published or status.exposed):
        return ""
    from cratebox.engine.network_words import of_image
    from cratebox.engine.published import shown

    return shown(published, of_image(status.exposed))


def _mounts(status: ContainerStatus) -> list[str]:
    return [one.source for one in status.mounts if one.source]


def _command(status: ContainerStatus) -> str:
    """An argument with a space in it is in quotes, as with Docker."""
    program, arguments = status.command[:1], status.command[1:]
    return safe(" ".join([*program, *(f"'{word}'" if " " in word else word for word in arguments)]))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def _label(status: ContainerStatus) -> Callable[[str], str]:
    return lambda key: status.labels.get(key, "")


_FIELDS: dict[str, Callable[[ContainerStatus], Any]] = {
    "Command": lambda one: _quoted(render.ellipsis(_command(one), 20)),
    "CreatedAt": lambda one: render.local_time(one.created),
    "ID": lambda one: render.short_id(one.id),
    "Image": lambda one: one.image,
    "ImageID": lambda one: one.image_id,
    "Label": _label,
    "Labels": lambda one: ",".join(f"{key}={value}" for key, value in sorted(one.labels.items())),
    "LocalVolumes": lambda one: str(sum(mount.kind == "volume" for mount in one.mounts)),
    "Mounts": lambda one: ",".join(render.ellipsis(source, 15) for source in _mounts(one)),
    "Names": lambda one: one.name,
    "Networks": lambda one: ",".join(one.networks) if one.networks else one.network.partition(":")[0],
    "Pid": lambda one: one.pid,
    "RunningFor": lambda one: f"{render.duration(time.time() - one.created)} ago",
    "Size": lambda _: "N/A",
    "State": lambda one: one.status,
    "Status": lambda one: status_text(one, time.time()),
}
_WHOLE: dict[str, Callable[[ContainerStatus], Any]] = {
    "Command": lambda one: _quoted(_command(one)),
    "ID": lambda one: one.id,
    "Mounts": lambda one: ",".join(_mounts(one)),
}


def status_text(status: ContainerStatus, now: float) -> str:
    """Return a container's status as Docker words it: Up 2 hours (healthy), Exited (0) 5 seconds ago, Created."""
    state = status.status
    if state in ("running", "paused"):
        up = f"Up {render.duration(now - status.started_at)}" if status.started_at else "Up"
        return up + _up_note(state, status.health)
    if state in ("exited", "restarting"):
        code = "?" if status.exit_code is None else status.exit_code
        ago = f" {render.duration(now - status.finished_at)} ago" if status.finished_at else ""
        return f"{state.capitalize()} ({code}){ago}"
    return state.capitalize()


def _up_note(state: str, health: str) -> str:
    if state == "paused":
        return " (Paused)"
    if health:
        return " (health: starting)" if health == "starting" else f" ({health})"
    return ""
