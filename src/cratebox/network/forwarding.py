"""Forwarding: what makes the machine a router for its containers, and for nobody else.

The kernel's switch (net.ipv4.ip_forward) is for all interfaces: a machine that was on two networks would from then on lead
whoever is on the one into the other, through a VPN as well. So where it is crate that turns it on, what was not forwarded
before still is not: a table of nftables drops what goes between the interfaces that were there. What others make later (bridges
of Docker or libvirt) is not among them. On a machine whose owner has turned it on himself there is no such table, and he can
delete this one.

    table ip crate-before {
        set before { type ifname; elements = { "eth0", "wlan0" } }
        chain forward { type filter hook forward priority filter; iifname @before oifname @before drop }
    }
"""

from __future__ import annotations

import os

from cratebox.errors import Unsupported
from cratebox.network import bridge, firewall
from cratebox.network.model import Network, Place

TABLE = "crate-before"
_SWITCHES = (("ip", "net/ipv4/conf", "net/ipv4/ip_forward"), ("ip6", "net/ipv6/conf", "net/ipv6/conf/all/forwarding"))
_NO_INTERFACES = frozenset(("all", "default", "lo"))
_IN_NAMES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:@-")  # what nft reads as it stands


def ensure(place: Place, network: Network) -> None:
    """See to it that packets of the network are forwarded. Raises Unsupported, RuntimeFailure."""
    if network.ipv6 and not os.path.isdir("/proc/sys/net/ipv6/conf"):
        raise Unsupported(f"network {network.name}: this kernel has no IPv6", "make it without --ipv6")
    for family, interfaces, switch in _SWITCHES if network.ipv6 else _SWITCHES[:1]:
        if _value(switch) == "0":
            _turn_on(place, network, family, interfaces, switch)


def _turn_on(place: Place, network: Network, family: str, interfaces: str, switch: str) -> None:
    from cratebox.network import definitions

    own = {one.interface for one in definitions.all_of(place)}
    there = sorted(set(os.listdir(f"/proc/sys/{interfaces}")) - own)
    before = [name for name in there if _is_kept_apart(interfaces, name)]
    firewall.run(_rules(family, before))
    try:
        if family == "ip6":
            _keep_advertisements()
        bridge.write(switch, "1")
    except OSError as error:
        firewall.run(f"delete table {family} {TABLE}\n")
        raise Unsupported(
            f"network {network.name}: this machine does not forward packets, and that cannot be changed: {error.strerror}",
            f"sysctl -w {switch.replace('/', '.')}=1, or use --network host",
        ) from None


def _is_kept_apart(interfaces: str, name: str) -> bool:
    """Some interfaces may forward already: their owner has said so for each."""
    if name in _NO_INTERFACES or not _IN_NAMES.issuperset(name):
        return False
    return not name.startswith(("crate", "cr-")) and _value(f"{interfaces}/{name}/forwarding") == "0"


def _rules(family: str, before: list[str]) -> str:
    names = ", ".join(f'"{name}"' for name in before)
    elements = f"elements = {{ {names} }}" if before else ""
    return (
        f"table {family} {TABLE} {{}}\ndelete table {family} {TABLE}\ntable {family} {TABLE} {{\n"
        f'comment "crate has turned forwarding on: between these interfaces there was none"\n'
        f"set before {{ type ifname; {elements} }}\n"
        "chain forward { type filter hook forward priority filter; policy accept; iifname @before oifname @before drop; }\n}\n"
    )


def _keep_advertisements() -> None:
    """An interface of a machine that forwards IPv6 believes no router any more, unless it is told to (ip-sysctl, accept_ra)."""
    for name in os.listdir("/proc/sys/net/ipv6/conf"):
        if name not in _NO_INTERFACES and _value(f"net/ipv6/conf/{name}/accept_ra") == "1":
            bridge.write(f"net/ipv6/conf/{name}/accept_ra", "2")


def _value(name: str) -> str:
    """Return a setting below /proc/sys, "" where there is none."""
    try:
        with open("/proc/sys/" + name, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
