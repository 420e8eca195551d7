"""What a network is, what somebody wishes of it, and what he got: plain values that everything in this room passes on.

Addresses are text as inet_ntop(3) writes it, "" where there is none; a prefix is a number of bits. A hardware address is
"02:42:0a:5a:00:02".
"""

from __future__ import annotations

from cratebox.record import Record

BRIDGE = "bridge"  # the default network's name, and the driver's


class Place(Record):
    """Where the networks of one crate are. `root`: their definitions;
    `state`: what a reboot forgets (leases, published ports).
    """

    root: str
    state: str
    rootless: bool = False


class Subnet(Record):
    """A range of addresses of a network: "10.90.0.0/24". `gateway` is the bridge's own;
    `ip_range` the part that is given out.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    reserved: dict[str, str] = {}  # noqa: RUF012  --aux-address: a name to an address that is never given out


class Network(Record):
    """A network on the disk. `interface` is the bridge's; `internal` has no way out; `mtu` 0 is the kernel's choice.

    `id` is 64 hexadecimal digits, `created` seconds since 1970. Names resolve on all but the default one.
    """

    id: str
    name: str
    interface: str
    subnets: tuple[Subnet, ...]
    driver: str = BRIDGE
    created: float = 0.0
    internal: bool = False
    ipv6: bool = False
    mtu: int = 0
    icc: bool = True  # whether its containers reach each other
    masquerade: bool = True
    host_binding: str = ""  # the address that ports are published on where none is given, "" for all
    names: bool = True
    options: dict[str, str] = {}  # noqa: RUF012
    labels: dict[str, str] = {}  # noqa: RUF012


_MOST_FORMER = 16  # networks whose addresses are remembered for somebody
MOST_PORTS = 4096  # of a container: each is held by a socket, and has its line in the leases


class Port(Record):
    """A port of a container that is published. `host` 0 is any free one; `host_ip` "" is every address, IPv4 and IPv6.

    `host_last`: the first free one of `host` to `host_last` is wanted; what is reserved has none.
    """

    container: int
    protocol: str = "tcp"  # or udp, sctp
    host: int = 0
    host_ip: str = ""
    host_last: int = 0


class Wish(Record):
    """What somebody wishes of one network. `interface` is the name inside, `mac` and the addresses "" for any."""

    network: Network
    interface: str = "eth0"
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""


class Endpoint(Record):
    """What he got: an interface in his namespace, its other end on the bridge, and his addresses.
    `aliases` are all his names there.

    `gateway` is empty on an internal network. `bridge`, `mtu` and `apart` (not to reach the others there) are of his network.
    """

    network: str  # the ID of the network
    name: str  # its name
    interface: str
    outside: str  # the name of the other end
    mac: str
    ip: str = ""
    prefix: int = 0
    gateway: str = ""
    ip6: str = ""
    prefix6: int = 0
    gateway6: str = ""
    aliases: tuple[str, ...] = ()
    bridge: str = ""
    mtu: int = 0
    apart: bool = False


class Former(Record):
    """What somebody had on a network that he has left, or in a run that is over: addresses, and the other end's name."""

    network: str  # its ID
    ip: str = ""
    ip6: str = ""
    outside: str = ""


class Reservation(Record):
    """All that a namespace gets, reserved before it exists. `owner` is a word of the caller's (an ID),
    `label` what people call him.

    `ports` have a `host` that is reserved for him. `resolver`: whether names are resolved for him, at RESOLVER;
    `upstreams`: who is asked for those that are none of ours, () for the resolvers of the machine. `keeps_clients`: he is to
    see his clients' own addresses at his ports, which without root is dearer (network/usermode.py). `former`: what he had
    before, and gets again where nobody else has it by then.
    """

    owner: str
    label: str
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()
    resolver: bool = False
    upstreams: tuple[str, ...] = ()
    keeps_clients: bool = False
    former: tuple[Former, ...] = ()

    def outward(self, six: bool = False) -> Endpoint | None:
        """Return the endpoint by which leaves what is for elsewhere, and by which published ports are reached;
        `six`: with IPv6.
        """
        return next((one for one in self.endpoints if (one.gateway6 if six else one.gateway)), None)

    def left(self, gone: tuple[Endpoint, ...]) -> tuple[Former, ...]:
        """Return what he had until now, when the endpoints `gone` are no more: the last of each network, the newest first."""
        found = {one.network: one for one in self.former}
        now = [Former(network=one.network, ip=one.ip, ip6=one.ip6, outside=one.outside) for one in gone]
        for one in now:
            found.pop(one.network, None)
        return (*now, *found.values())[:_MOST_FORMER]


RESOLVER = "127.0.0.11"  # inside of each namespace on a network with names, as Docker's
