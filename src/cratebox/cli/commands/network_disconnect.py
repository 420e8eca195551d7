"""crate network disconnect: take a container off a network."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="disconnect",
    arguments="NETWORK CONTAINER",
    summary="Take a container off a network",
    flags=(Flag("force", "f", help="also one that is not there any more"),),
    least=2,
    most=2,
    completes="network",
    description="Take a container off a network, at once where it runs, and for its next starts.",
    exit_codes=(("0", "done"), ("125", "it was not on that network, or is not there")),
)


def main(words: Words) -> int:
    """Do it."""
    network, container = words.arguments
    open_engine(words).networks.disconnect(network, container, words.yes("force"))
    return 0
