"""crate network ls: what networks there are."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine import network_selection

_HEADERS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6", "Internal": "INTERNAL",
    "Labels": "LABELS", "CreatedAt": "CREATED AT", "Label": lambda name: name.rpartition(".")[2],
}  # fmt: skip
_COLUMNS = ("ID", "Name", "Driver", "Scope")

COMMAND = Command(
    name="ls",
    arguments="",
    summary="List networks",
    flags=(
        Flag("filter", "f", "KEY=VALUE", "only those for which this holds: name=back, label=KEY, type=custom", repeat=True),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Name}}'"),
        Flag("no-trunc", help="do not shorten IDs"),
        Flag("quiet", "q", help="print IDs alone"),
    ),
    description="""List the networks by name. `bridge` is the default one; `host` and `none` stand for this machine's own
network, and for no network at all.

Filters: id, name (a part of it), label (KEY or KEY=VALUE), driver, scope, type (custom or builtin), dangling (whether no
container that runs is on it).""",
    examples=(("crate network ls --filter type=custom -q", "those that somebody has made"),),
    exit_codes=(("0", "done"), ("125", "a filter is wrong")),
)


def main(words: Words) -> int:
    """Print the list."""
    networks = open_engine(words).networks
    found = network_selection.select(networks, words.all("filter"))
    whole, form = words.yes("no-trunc"), words.text("format")
    if words.yes("quiet") and not form:
        for one in found:
            render.line(one.id if whole else render.short_id(one.id))
        return 0
    rows = [
        {
            "CreatedAt": render.local_time(one.created),
            "Driver": one.driver,
            "ID": one.id if whole else render.short_id(one.id),
            "IPv4": "true",
            "IPv6": "true" if one.ipv6 else "false",
            "Internal": "true" if one.internal else "false",
            "Label": lambda key, labels=one.labels: labels.get(key, ""),
            "Labels": ",".join(f"{key}={value}" for key, value in sorted(one.labels.items())),
            "Name": one.name,
            "Scope": "local",
        }
        for one in found
    ]
    render.listing(rows, _HEADERS, _COLUMNS, form or None)
    return 0
