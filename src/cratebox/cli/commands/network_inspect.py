"""crate network inspect: all about networks."""

from __future__ import annotations

from cratebox.cli.commands import documents, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="inspect",
    arguments="NETWORK [NETWORK...]",
    summary="Show what is known about networks",
    flags=(Flag("format", "f", "FORMAT", "json, or a TEMPLATE, as '{{range .IPAM.Config}}{{.Subnet}}{{end}}'"),),
    least=1,
    most=None,
    completes="network",
    later=("v/verbose",),
    description="Print a JSON document of each network, in Docker's form: its addresses, and the containers that are on it now.",
    examples=(("crate network inspect -f '{{json .Containers}}' backend", "who is there"),),
    exit_codes=(("0", "all were found"), ("1", "one was not; the others are shown")),
)


def main(words: Words) -> int:
    """Print what there is."""
    return documents(words, open_engine(words).networks.inspect)
