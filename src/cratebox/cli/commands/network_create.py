"""crate network create: a network for containers."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine import network_options
from cratebox.engine.config import parse_label
from cratebox.errors import Unsupported
from cratebox.network.model import BRIDGE, Network

COMMAND = Command(
    name="create",
    arguments="NETWORK",
    summary="Make a network",
    flags=(
        Flag("driver", "d", "bridge", "what it is made of: a bridge is all that there is", default=BRIDGE),
        Flag("subnet", metavar="RANGE", help="its addresses, as 10.5.0.0/24 or fd00:5::/64; one of each kind", repeat=True),
        Flag("gateway", metavar="ADDRESS", help="the address of this machine in it", repeat=True),
        Flag("ip-range", metavar="RANGE", help="the part of it that containers get addresses of", repeat=True),
        Flag("aux-address", metavar="NAME=ADDRESS", help="an address that no container gets", repeat=True),
        Flag("ipv6", help="addresses of IPv6 as well"),
        Flag("internal", help="no way to the outside, and none in"),
        Flag("opt", "o", "KEY=VALUE", "mtu, or one of Docker's options of bridges", repeat=True),
        Flag("label", metavar="KEY=VALUE", help="keep a word with it", repeat=True),
    ),
    least=1,
    most=1,
    later=("attachable", "config-from", "config-only", "ingress", "ipam-driver", "ipam-opt", "ipv4", "scope"),
    description="""Make a network, and print its ID. Containers that are on it reach each other, by name as well; those of other networks do not
reach them. What is not said is chosen: subnets that nothing on this machine uses, the first address as the gateway.

Options: """
    + ", ".join(network_options.KNOWN)
    + ".",
    examples=(
        ("crate network create backend", "then: crate run --network backend --name db ..."),
        ("crate network create --subnet 10.5.0.0/24 --ip-range 10.5.0.128/25 lab", "with addresses of one's own choice"),
        ("crate network create --internal --ipv6 quiet", "without a way to the outside"),
    ),
    exit_codes=(("0", "it is there"), ("125", "it is not: its name or its addresses are taken, or wrong")),
)


def main(words: Words) -> int:
    """Make it and print its ID."""
    driver = words.text("driver")
    if driver != BRIDGE:
        raise Unsupported(f"networks of the driver {driver} are not there", "leave out --driver: bridge is what there is")
    network = Network(
        id="",
        name=words.arguments[0],
        interface="",
        subnets=network_options.subnets(
            words.all("subnet"), words.all("gateway"), words.all("ip-range"), words.all("aux-address")
        ),
        internal=words.yes("internal"),
        ipv6=words.yes("ipv6"),
        labels=dict(map(parse_label, words.all("label"))),
    )
    network = network_options.with_options(network, words.all("opt"))
    print(open_engine(words).networks.create(network).id)
    return 0
