"""What turns RESOLVER:53 inside of a namespace into the ports where the resolver's sockets are.

A container may have a server of its own on port 53, so ours are elsewhere. The ports are rewritten on the way out, there and
back, without any state: no NAT, so the kernel need not follow the container's connections. In nft's words:

    table ip crate_dns {
        chain output {
            type filter hook output priority mangle;
            ip daddr 127.0.0.11 udp dport 53 udp dport set PORT
            ip saddr 127.0.0.11 udp sport PORT udp sport set 53
            ...the same for tcp
        }
    }
"""

from __future__ import annotations

from cratebox.linux import nftables
from cratebox.linux import nftables_rules as nft
from cratebox.network.model import RESOLVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

TABLE, _CHAIN = "crate_dns", "output"
_MANGLE = -150  # NF_IP_PRI_MANGLE
_UDP, _TCP = 17, 6
_CHECKSUM = {_UDP: 6, _TCP: 16}  # where in the header it is
_SOURCE, _DESTINATION = 12, 16  # of the addresses in the IPv4 header
_SOURCE_PORT, _DESTINATION_PORT = 0, 2
_RESOLVER = bytes(map(int, RESOLVER.split(".")))
_DOMAIN = (53).to_bytes(2, "big")


def install(netfilter: _socket.socket, udp_port: int, tcp_port: int, *, again: bool = False) -> None:
    """Redirect to these ports, in the network namespace where the socket (NETLINK_NETFILTER) was made. `again`: there may be a
    table of an earlier resolver. Raises OSError.
    """
    family = nftables.NFPROTO_IPV4
    messages = [nft.add_table(family, TABLE), nft.delete_table(family, TABLE)] if again else []
    messages += [nft.add_table(family, TABLE), nft.add_filter_chain(family, TABLE, _CHAIN, nft.NF_INET_LOCAL_OUT, _MANGLE)]
    for protocol, number in ((_UDP, udp_port), (_TCP, tcp_port)):
        port = number.to_bytes(2, "big")
        messages.append(_rule(protocol, _DESTINATION, _DESTINATION_PORT, _DOMAIN, port))
        messages.append(_rule(protocol, _SOURCE, _SOURCE_PORT, port, _DOMAIN))
    nftables.transact(netfilter, messages, f"redirect {RESOLVER}:53 to the resolver")


def _rule(protocol: int, address: int, port: int, old: bytes, new: bytes) -> nft.Message:
    return nft.add_rule(
        nftables.NFPROTO_IPV4,
        TABLE,
        _CHAIN,
        nft.load(nft.NETWORK_HEADER, address, 4),
        nft.equals(_RESOLVER),
        nft.load_protocol(),
        nft.equals(bytes([protocol])),
        nft.load(nft.TRANSPORT_HEADER, port, 2),
        nft.equals(old),
        *nft.store(new, nft.TRANSPORT_HEADER, port, _CHECKSUM[protocol]),
    )
