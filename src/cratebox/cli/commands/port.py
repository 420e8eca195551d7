"""crate port: the published ports of a container."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words
from cratebox.engine import network_words
from cratebox.engine.inspect_network import addresses_of
from cratebox.engine.published import written
from cratebox.errors import NotFound

COMMAND = Command(
    name="port",
    arguments="CONTAINER [PORT[/PROTOCOL]]",
    summary="List where the ports of a container are published",
    least=1,
    most=2,
    completes="container",
    description="""List the ports of a container that are published on this machine, or say where one of them is. Of a container
that does not run none is.""",
    examples=(("crate port web 80", "prints 0.0.0.0:8080 and [::]:8080"),),
    exit_codes=(("0", "they are listed"), ("125", "the port is not published")),
)


def main(words: Words) -> int:
    """List them."""
    reference, *port = words.arguments
    wanted = network_words.exposed(port[:1])
    containers = open_engine(words).containers
    container = containers.get(reference)
    found = [
        (f"{one.container}/{one.protocol}", written(address, one.host))
        for one in containers.ports(container)
        for address in addresses_of(one)
    ]
    if wanted:
        found = [("", place) for name, place in found if name == wanted[0]]
        if not found:
            raise NotFound(f"no public port {wanted[0]} published for {container.name}")
    for name, place in sorted(found, key=lambda one: (len(one[0]), one[0])):
        render.line(f"{name} -> {place}" if name else place)
    return 0
