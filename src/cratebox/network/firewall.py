"""Packets between containers, the machine and others: a table of nftables of our own, `inet crate`.

The rules never change while the machine runs; what changes are the elements of its sets and maps. They are loaded as text by
nft(8), whole, when a network is made or removed, or somebody has deleted them; a published port is an element that a
container's start adds by netlink (linux/nftables.py) and its end deletes.

    prerouting, output   who asks for a published port of this machine is led to the container (dnat)
    postrouting          who leaves a bridge for elsewhere has the machine's address; so has what comes back through its own bridge, or
                         from 127.0.0.1, for the answer must come through here
    forward              into a bridge comes what answers, what was published, and what its own containers send

What other tables drop stays dropped: in nf_tables an accept ends one chain, a drop all of them. `obstacle` tells of it.
"""

from __future__ import annotations

import errno
import os

from cratebox.errors import RuntimeFailure, Unsupported
from cratebox.linux import nftables
from cratebox.network import bridge
from cratebox.network.model import Network, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterable


_GENERATION = "crate: rules of generation 1"  # another one where the rules below are others
_NEEDS_NFT = "apt-get install nftables, or the like; --network host and --network none need none"

_SETS = """
    set bridges { type ifname; elements = { %(bridges)s } }
    set internal { type ifname; elements = { %(internal)s } }
    set together { type ifname . ifname; elements = { %(together)s } }
    set apart { type ifname . ifname; elements = { %(apart)s } }
    set own4 { type ifname . ipv4_addr; flags interval; elements = { %(own4)s } }
    set own6 { type ifname . ipv6_addr; flags interval; elements = { %(own6)s } }
    set masked4 { type ipv4_addr; flags interval; elements = { %(masked4)s } }
    set masked6 { type ipv6_addr; flags interval; elements = { %(masked6)s } }
    map any4 { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { %(any4)s } }
    map any6 { type inet_proto . inet_service : ipv6_addr . inet_service; elements = { %(any6)s } }
    map at4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; elements = { %(at4)s } }
    map at6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; elements = { %(at6)s } }
"""
_CHAINS = """
    chain published {
        dnat ip to meta l4proto . ip daddr . th dport map @at4
        dnat ip to meta l4proto . th dport map @any4
        dnat ip6 to meta l4proto . ip6 daddr . th dport map @at6
        dnat ip6 to meta l4proto . th dport map @any6
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept
        # 127.0.0.1 is asked for by this machine alone, in output: a neighbour who does lies
        ip daddr 127.0.0.0/8 return
        meta l4proto { tcp, udp, sctp } fib daddr type local jump published
    }
    chain output {
        type nat hook output priority -100; policy accept
        # the kernel takes no answer to ::1 in from a bridge, whatever its name was on the way: who asks there is refused, not left waiting
        ip6 daddr ::1 return
        meta l4proto { tcp, udp, sctp } fib daddr type local jump published
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept
        ip saddr 127.0.0.0/8 oifname @bridges masquerade
        ct status dnat oifname . ip saddr @own4 masquerade
        ct status dnat oifname . ip6 saddr @own6 masquerade
        ip saddr @masked4 oifname != @bridges masquerade
        ip6 saddr @masked6 oifname != @bridges masquerade
    }
    chain raw {
        type filter hook prerouting priority raw; policy accept
        # route_localnet lets a bridge's containers ask for the machine's 127.0.0.1 (CVE-2020-8558)
        iifname @bridges ip daddr 127.0.0.0/8 drop
        iifname @bridges ip saddr 127.0.0.0/8 drop
    }
    chain redirects {
        type filter hook output priority filter; policy accept
        # a container that asks a published port of another on its bridge is not to be told of a shorter way: we must see the answer
        oifname @bridges icmp type redirect drop
        oifname @bridges icmpv6 type nd-redirect drop
    }
    chain forward {
        type filter hook forward priority filter; policy accept
        iifname . oifname @together accept
        iifname . oifname @apart drop
        iifname @internal drop
        oifname @bridges goto into
    }
    chain into {
        oifname @internal drop
        ct state established,related accept
        ct status dnat accept
        drop
    }
"""


def table(place: Place) -> str:
    """Return the name of the place's table: `crate`, with a hash where the place is not the usual one."""
    if bridge.is_usual(place):
        return "crate"
    found = 0xCBF29CE484222325  # FNV-1a: a hash that needs no import
    for byte in f"{place.root}\0{place.state}".encode():
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"crate-{found:016x}"


_kept: list[tuple[int, _socket.socket]] = []  # the process that uses it, and the socket


def kept_socket() -> _socket.socket:
    """Return this process's socket of nf_tables, which stays open until the process ends. Raises OSError.

    When one is closed the kernel waits, some 20 ms, until all that was deleted by anybody is out of use (nft_rcv_nl_event). A
    fork inherits it and uses another, for two would read each other's answers; so it is the supervisor whose end closes it, for
    which nobody waits, and not the client's.
    """
    if not _kept or _kept[-1][0] != os.getpid():
        _kept.append((os.getpid(), nftables.open_socket()))
    return _kept[-1][1]


def is_loaded(place: Place) -> bool:
    """Whether our rules are there. Raises OSError."""
    found = nftables.table_userdata(kept_socket(), table(place))
    return found is not None and _GENERATION.encode() in found


def is_there(place: Place) -> bool:
    """Whether there is a table of ours, whatever is in it. Raises OSError."""
    return nftables.table_userdata(kept_socket(), table(place)) is not None


def load(place: Place, networks: Iterable[Network], published: Iterable[tuple[str, str]]) -> None:
    """Load the rules, in the place of any that are there, in one transaction.
    `published`: a map and an element as nft reads it.

    Raises Unsupported, RuntimeFailure.
    """
    name = table(place)
    sets = _elements_of(networks)
    for which, element in published:
        sets[which].append(element)
    lines = (_SETS % {which: ", ".join(found) for which, found in sets.items()}).splitlines()
    body = "\n".join(line.replace("elements = {  }", "") for line in lines)  # nft knows no empty list
    run(f'table inet {name} {{}}\ndelete table inet {name}\ntable inet {name} {{\ncomment "{_GENERATION}"\n{body}{_CHAINS}}}\n')


def unload(place: Place) -> None:
    """Delete the table, where it is. Raises Unsupported, RuntimeFailure."""
    run(f"table inet {table(place)} {{}}\ndelete table inet {table(place)}\n")


def _elements_of(networks: Iterable[Network]) -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {line.split()[1]: [] for line in _SETS.strip().splitlines()}
    for one in networks:
        word = f'"{one.interface}"'
        sets["bridges"].append(word)
        if one.internal:
            sets["internal"].append(word)
        sets["together" if one.icc else "apart"].append(f"{word} . {word}")
        for subnet in one.subnets:
            family = 6 if ":" in subnet.subnet else 4
            sets[f"own{family}"].append(f"{word} . {subnet.subnet}")
            if one.masquerade and not one.internal:
                sets[f"masked{family}"].append(subnet.subnet)
    return sets


def run(text: str) -> None:
    """Have nft(8) do what `text` says, all or nothing. Raises Unsupported, RuntimeFailure."""
    import subprocess

    try:
        done = subprocess.run([_program(), "-f", "-"], input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unsupported(f"cannot start nft: {error.strerror}", _NEEDS_NFT) from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "rror" in line), done.stderr.strip())
        if "Operation not supported" in said or "Operation not permitted" in said:
            raise Unsupported(
                f"nft cannot load rules: {said}", "the kernel needs nf_tables, nft_nat, nft_masq and nft_fib_inet"
            )
        raise RuntimeFailure(f"nft refuses the rules of crate: {said}", "crate needs nftables 1.0 or later")


def _program() -> str:
    found = _find("nft")
    if not found:
        raise Unsupported("networks need the program nft, which is not there", _NEEDS_NFT)
    return found


def _find(name: str) -> str:
    """Not by PATH alone: sbin is in root's, but not in that of everything which calls crate."""
    places = (*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin", "/usr/local/sbin")
    found = (f"{one}/{name}" for one in places if one.startswith("/"))
    return next((path for path in found if os.access(path, os.X_OK)), "")


def obstacle(interface: str) -> tuple[str, str] | None:
    """Return what keeps packets from being forwarded, and the command that would allow them; None where nothing is known to.

    Another table that drops them has the last word, and is its owner's: nothing of it is changed. Where he allows them the
    words are empty. Raises OSError.
    """
    try:
        found = nftables.forward_chains(kept_socket())
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}:
            return None
        raise
    for _family, name, chain, drops in found:
        if name == "firewalld":
            return _of_firewalld(interface)
        if drops and name == "filter" and chain == "FORWARD":
            return _of_iptables(interface)
        if drops and not name.startswith("crate"):
            return (
                f"the chain {chain} of the nftables table {name} drops what is forwarded: containers on {interface} may not reach the outside",
                f"add to it: iifname {interface} accept; oifname {interface} accept",
            )
    return None


def _of_firewalld(interface: str) -> tuple[str, str]:
    if _says("firewall-cmd", f"--get-zone-of-interface={interface}").strip() == "trusted":
        return "", ""
    return (
        f"firewalld decides what is forwarded: it may keep containers on {interface} from the outside",
        f"firewall-cmd --permanent --zone=trusted --add-interface={interface} && firewall-cmd --reload",
    )


def _of_iptables(interface: str) -> tuple[str, str]:
    """Docker keeps a chain for the rules of others, which its own start does not flush."""
    docker, usual = _says("iptables", "-w", "-S", "DOCKER-USER"), _says("iptables", "-w", "-S", "FORWARD")
    if any(f"-A {chain} -i {interface} -j ACCEPT" in docker + usual for chain in ("DOCKER-USER", "FORWARD")):
        return "", ""
    where = "DOCKER-USER" if docker else "FORWARD"
    return (
        f"the policy of the chain FORWARD is to drop: containers on {interface} do not reach the outside",
        f"iptables -I {where} -i {interface} -j ACCEPT && iptables -I {where} -o {interface} -j ACCEPT",
    )


def _says(name: str, *words: str) -> str:
    """Return what a program prints where it is there and succeeds."""
    import subprocess

    path = _find(name)
    if not path:
        return ""
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout
