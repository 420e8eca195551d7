"""crate port: the published ports of a container."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue, NotFound

_PROTOCOLS = ("tcp", "udp", "sctp")
_MOST = 65535
COMMAND = Command(
    name="port",
    arguments="CONTAINER [PORT[/PROTOCOL]]",
    summary="List where the ports of a container are published",
    least=1,
    most=2,
    completes="container",
    description="""List the ports of a container that are published on this machine, or say where one of them is. Ports cannot be
published yet: the list is empty.""",
    exit_codes=(("0", "they are listed"), ("125", "the port is not published")),
)


def main(words: Words) -> int:
    """List them: there are none."""
    reference, *port = words.arguments
    name = open_engine(words).containers.get(reference).name
    if port:
        raise NotFound(f"no public port {_checked(port[0])} published for {name}")
    return 0


def _checked(text: str) -> str:
    number, slash, protocol = text.partition("/")
    good = number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) <= _MOST
    if not good or (slash and protocol.lower() not in _PROTOCOLS):
        raise InvalidValue(f"not a port: {shown(text)}", "write 80, 80/tcp, 53/udp or 9/sctp")
    return f"{int(number)}/{protocol.lower() or 'tcp'}"
