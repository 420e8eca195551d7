"""crate stats: what containers use."""

from __future__ import annotations

import os
import sys

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cratebox.engine.stats import Usage

_HEADERS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UNKNOWN = "--"

COMMAND = Command(
    name="stats",
    arguments="[CONTAINER...]",
    summary="Show what containers use of the machine",
    flags=(
        Flag("all", "a", help="also those that do not run"),
        Flag("no-stream", help="show it once"),
        Flag("no-trunc", help="do not shorten IDs"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Name}}: {{.CPUPerc}}'"),
    ),
    least=0,
    most=None,
    completes="container",
    description="""Show, once a second, what the running containers use, or those that are named: processor time in percent of
one processor, memory without what the kernel can drop at once, what came and went by the network and by disks, and the number
of processes and threads. A container that shares the network of this machine (--network host) has no traffic of its own.

Everything but the network is counted by a container's cgroup. Without one, as without root where systemd delegates none, -- is
shown.""",
    examples=(("crate stats --no-stream", "now"), ("crate stats --format '{{.Name}} {{.MemUsage}}' web", "one, by a template")),
    exit_codes=(("0", "it was shown"), ("125", "there is no such container"), ("130", "it was interrupted")),
)


def main(words: Words) -> int:
    """Print the table, again and again unless --no-stream."""
    once, form = words.yes("no-stream"), words.text("format") or None
    given = {}
    containers = open_engine(words).containers
    for argument in words.arguments:
        given[containers.get(argument).id] = argument
    live = not once and os.isatty(1)
    told: set[str] = set()
    for usages in containers.stats(tuple(given), all=words.yes("all")):
        if given and not usages:
            return 0  # all that were named are gone
        if live:
            sys.stdout.write("\x1b[H\x1b[J")
        rows = [_row(one, given.get(one.id, render.short_id(one.id)), words.yes("no-trunc")) for one in usages]
        render.listing(rows, _HEADERS, _COLUMNS, form)
        sys.stdout.flush()
        _tell_what_is_missing(usages, set() if live else told)
        if once:
            return 0
    return 0


def _tell_what_is_missing(usages: Iterable[Usage], told: set[str]) -> None:
    for one in usages:
        if one.missing and one.id not in told:
            from cratebox.engine.capacity import capacity

            told.add(one.id)
            hint = capacity(bool(os.geteuid())).hint
            sys.stderr.write(safe(f"crate stats: {one.name}: {one.missing}") + "\n" + (f"  hint: {hint}\n" if hint else ""))


def _row(one: Usage, given: str, whole_id: bool) -> dict[str, Any]:
    return {
        "BlockIO": _pair(one.read, one.written, render.size),
        "CPUPerc": _percent(one.cpu),
        "Container": given,
        "ID": one.id if whole_id else render.short_id(one.id),
        "MemPerc": _percent(None if one.memory is None else 100 * one.memory / one.memory_limit if one.memory_limit else 0.0),
        "MemUsage": _pair(one.memory, one.memory_limit, _binary_size),
        "Name": one.name,
        "NetIO": _pair(one.received, one.sent, render.size),
        "PIDs": _UNKNOWN if one.pids is None else str(one.pids),
    }


def _pair(first: int | None, second: int | None, size: Any) -> str:
    return f"{_UNKNOWN if first is None else size(first)} / {_UNKNOWN if second is None else size(second)}"


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}%"


def _binary_size(count: float) -> str:
    """As Docker prints memory: 3.867MiB (powers of 1024, four digits)."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count /= 1024
        power += 1
    return f"{count:.4g}{_UNITS[power]}"
