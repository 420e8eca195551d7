"""crate network connect: put a container on a network."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine import network_words
from cratebox.engine.config import NetworkWish

COMMAND = Command(
    name="connect",
    arguments="NETWORK CONTAINER",
    summary="Put a container on a network",
    flags=(
        Flag("alias", metavar="NAME", help="another name of it there", repeat=True),
        Flag("ip", metavar="ADDRESS", help="its IPv4 address there"),
        Flag("ip6", metavar="ADDRESS", help="its IPv6 address there"),
        Flag("mac-address", metavar="ADDRESS", help="the hardware address of its interface"),
        Flag("gw-priority", metavar="NUMBER", help="the network with the highest is the way outside, from the next start on"),
        Flag("driver-opt", metavar="KEY=VALUE", help=f"{network_words.INTERFACE_OPTION}=NAME names the interface", repeat=True),
    ),
    least=2,
    most=2,
    completes="network",
    later=("link", "link-local-ip"),
    description="""Put a container on one network more, at once where it runs, and each time that it is started. It needs a
network namespace of its own: one that was made with --network host, none or container:NAME cannot be put on others.""",
    examples=(("crate network connect --alias db backend web", "web is found there as db, too"),),
    exit_codes=(("0", "done"), ("125", "it is not on that network: standard error says why")),
)


def main(words: Words) -> int:
    """Do it."""
    network, container = words.arguments
    wish = NetworkWish(
        network,
        aliases=tuple(map(network_words.alias, words.all("alias"))),
        ip=network_words.address(text, "ip") if (text := words.text("ip")) else "",
        ip6=network_words.address(text, "ip6") if (text := words.text("ip6")) else "",
        mac=network_words.mac(text) if (text := words.text("mac-address")) else "",
        priority=network_words.priority(text) if (text := words.text("gw-priority")) else 0,
    )
    for text in words.all("driver-opt"):
        wish = network_words.driver_option(wish, text)
    open_engine(words).networks.connect(network, container, wish)
    return 0
