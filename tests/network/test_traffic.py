"""What comes through and what does not, between containers, the machine, and its neighbour."""

from __future__ import annotations

import errno
import socket
import subprocess
from pathlib import Path

import pytest

from cratebox.network import definitions, endpoints
from cratebox.network.model import Network, Port
from support.netspaces import Machine, Net, Netspace, Started

SHORT = 0.4  # seconds that a packet would have come in long before
REFUSED = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM}


@pytest.fixture(params=["bridges filter", "bridges do not filter"])
def filtering(request: pytest.FixtureRequest, net: Net) -> None:
    """Where Docker or Kubernetes is, frames between ports of a bridge go through the rules of IP (br_netfilter)."""
    path = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not path.exists():
        if request.param == "bridges filter":
            pytest.skip("this kernel has no br_netfilter")
        return
    value = str(int(request.param == "bridges filter"))
    path.write_text(value)
    path.with_name("bridge-nf-call-ip6tables").write_text(value)


def said(client: socket.socket, server: socket.socket) -> str:
    """Let a client that has connected say a word and hear one; return the address that the server sees."""
    talk, peer = server.accept()
    with talk, client:
        talk.settimeout(5)
        client.sendall(b"how")
        assert talk.recv(16) == b"how"
        talk.sendall(b"so")
        assert client.recv(16) == b"so"
    return str(peer[0])


def is_closed(who: Netspace, address: str, port: int) -> bool:
    try:
        who.talk(address, port, SHORT).close()
    except TimeoutError:
        return True
    except OSError as error:
        return error.errno in REFUSED
    return False


def web(net: Net, *networks: Network, **words: object) -> Started:
    return net.start("web", *networks, ports=(Port(80, host=8080, **words),))


def test_containers_of_a_network_reach_each_other(net: Net, filtering: None) -> None:
    network = net.create("front", ipv6=True)
    one, two = net.start("one", network), net.start("two", network)
    for address, all_of in ((two.ip, "0.0.0.0"), (two.ip6, "::")):
        with two.space.listen(80, all_of) as server:
            assert said(one.space.talk(address, 80), server) in {one.ip, one.ip6}


def test_the_first_packet_is_answered(net: Net) -> None:
    """What is sent before the kernel lets a new port of a bridge forward is lost, and sent again a second later."""
    network = net.create("front", ipv6=True)
    asked = {0x0806: 0, 0x86DD: 0}  # ARP and neighbour solicitations
    for number in range(6):
        reservation = net.reserve(f"n{number}", network)
        container = net.space()
        with container.inside():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        with wire:
            endpoints.attach(net.place, reservation, container.pid)
            for subnet, all_of in zip(network.subnets, ("0.0.0.0", "::"), strict=True):
                with net.machine.listen(80, all_of):
                    container.talk(subnet.gateway, 80).close()
            wire.setblocking(False)
            while True:
                try:
                    frame, (_name, protocol, direction, *_rest) = wire.recvfrom(2048)
                except BlockingIOError:
                    break
                source = frame[22:38]  # of IPv6; all zeros in the questions of duplicate address detection
                if direction == socket.PACKET_OUTGOING and (protocol == 0x0806 or (frame[54] == 135 and any(source))):
                    asked[protocol] += 1
    assert asked == {0x0806: 6, 0x86DD: 6}


def test_a_container_leaves_with_the_machines_address(net: Net, filtering: None) -> None:
    network = net.create("front", ipv6=True)
    one = net.start("one", network)
    machine = net.machine
    for address, seen in ((machine.NEIGHBOUR, machine.ADDRESS), (machine.NEIGHBOUR6, machine.ADDRESS6)):
        with machine.neighbour.listen(80, address) as server:
            assert said(one.space.talk(address, 80), server) == seen


def test_a_published_port_is_reached_from_everywhere(net: Net, filtering: None) -> None:
    network, other = net.create("front", ipv6=True), net.create("back", ipv6=True)
    server_of = web(net, network)
    friend, stranger = net.start("friend", network), net.start("stranger", other)
    machine = net.machine
    here, there = machine, machine.neighbour
    with server_of.space.listen(80) as server:
        assert said(there.talk(machine.ADDRESS, 8080), server) == machine.NEIGHBOUR
        assert said(here.talk(machine.ADDRESS, 8080), server) == machine.ADDRESS
        assert said(here.talk("127.0.0.1", 8080), server) == network.subnets[0].gateway
        for who in (friend, server_of, stranger):
            assert said(who.space.talk(machine.ADDRESS, 8080), server)
        assert said(friend.space.talk(network.subnets[0].gateway, 8080), server)
        assert said(stranger.space.talk(machine.ADDRESS, 8080), server) == stranger.ip
    with server_of.space.listen(80, "::") as server:
        assert said(there.talk(machine.ADDRESS6, 8080), server) == machine.NEIGHBOUR6
        assert said(here.talk(machine.ADDRESS6, 8080), server) == machine.ADDRESS6
        with pytest.raises(ConnectionRefusedError):  # the kernel takes no answer to ::1 from a bridge
            here.talk("::1", 8080)
        for who in (friend, server_of, stranger):
            assert said(who.space.talk(machine.ADDRESS6, 8080), server)


def test_a_published_port_of_udp_answers_with_the_address_that_was_asked(net: Net, filtering: None) -> None:
    network = net.create("front", ipv6=True)
    echo = net.start("echo", network, ports=(Port(53, "udp", host=5353),))
    machine = net.machine
    for who, address, all_of in (
        (machine.neighbour, machine.ADDRESS, "0.0.0.0"),
        (machine, "127.0.0.1", "0.0.0.0"),
        (machine.neighbour, machine.ADDRESS6, "::"),
    ):
        with echo.space.listen(53, all_of, socket.SOCK_DGRAM) as server, who.open(address, socket.SOCK_DGRAM) as client:
            client.connect((address, 5353))  # hears that address alone
            client.send(b"how")
            heard, peer = server.recvfrom(16)
            server.sendto(b"so", peer)
            assert (heard, client.recv(16)) == (b"how", b"so")


def test_a_published_port_of_sctp_is_reached(net: Net) -> None:
    network = net.create("front")
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        pytest.skip("this kernel has no SCTP")
    server_of = net.start("web", network, ports=(Port(80, "sctp", host=8080),))
    with server_of.space.listen(80, protocol=socket.IPPROTO_SCTP) as server:
        assert said(net.machine.neighbour.talk(Machine.ADDRESS, 8080, protocol=socket.IPPROTO_SCTP), server)


def test_a_port_published_at_an_address_is_reached_there_alone(net: Net) -> None:
    network = net.create("front")
    machine = net.machine
    machine.ip("address", "add", "192.0.2.77/24", "dev", "eth0")
    server_of = web(net, network, host_ip="192.0.2.77")
    with server_of.space.listen(80) as server:
        assert said(machine.neighbour.talk("192.0.2.77", 8080), server) == machine.NEIGHBOUR
        assert is_closed(machine.neighbour, machine.ADDRESS, 8080)
        assert is_closed(machine, "127.0.0.1", 8080)


def test_a_port_published_at_the_loopback_address_is_for_the_machine_alone(net: Net) -> None:
    network = net.create("front")
    server_of = web(net, network, host_ip="127.0.0.1")
    liar, friend = net.machine.neighbour, net.start("friend", network)
    for who in (liar, friend.space):  # CVE-2020-8558: it sends packets for 127.0.0.1 out by its interface
        who.sysctl("net/ipv4/conf/eth0/route_localnet", "1")
        who.ip("route", "delete", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
        who.ip("route", "delete", "local", "127.0.0.1", "dev", "lo", "table", "local")
    liar.ip("route", "add", "127.0.0.1", "via", Machine.ADDRESS, "dev", "eth0")
    friend.space.ip("route", "add", "127.0.0.1", "via", network.subnets[0].gateway, "dev", "eth0")
    with server_of.space.listen(80) as server, net.machine.listen(8081, "127.0.0.1"):
        assert said(net.machine.talk("127.0.0.1", 8080), server) == network.subnets[0].gateway
        for who in (liar, friend.space):
            assert is_closed(who, "127.0.0.1", 8080)
            assert is_closed(who, "127.0.0.1", 8081)


def test_networks_do_not_reach_each_other(net: Net, filtering: None) -> None:
    one, two = net.start("one", net.create("front", ipv6=True)), net.start("two", net.create("back", ipv6=True))
    with two.space.listen(80), two.space.listen(81, "::"):
        assert is_closed(one.space, two.ip, 80)
        assert is_closed(one.space, two.ip6, 81)


def test_a_neighbour_that_knows_the_way_reaches_no_port_that_is_not_published(net: Net) -> None:
    network = net.create("front")
    server_of = web(net, network)
    net.machine.neighbour.ip("route", "add", network.subnets[0].subnet, "via", Machine.ADDRESS)
    with server_of.space.listen(80), server_of.space.listen(81), net.machine.talk(server_of.ip, 80):
        assert is_closed(net.machine.neighbour, server_of.ip, 80)
        assert is_closed(net.machine.neighbour, server_of.ip, 81)


def test_an_internal_network_has_no_outside(net: Net, filtering: None) -> None:
    network = net.create("inner", internal=True, ipv6=True)
    one, two = net.start("one", network), net.start("two", network)
    with two.space.listen(80) as server:
        assert said(one.space.talk(two.ip, 80), server) == one.ip
    assert "default" not in one.space.ip("route")
    one.space.ip("route", "add", "default", "via", network.subnets[0].gateway)  # as root of a container may
    with net.machine.neighbour.listen(80):
        assert is_closed(one.space, Machine.NEIGHBOUR, 80)


def test_containers_of_a_network_without_icc_do_not_reach_each_other(net: Net, filtering: None) -> None:
    network = net.create("apart", icc=False)
    server_of, other = web(net, network), net.start("other", network)
    with server_of.space.listen(80) as server:
        assert is_closed(other.space, server_of.ip, 80)
        assert is_closed(other.space, Machine.ADDRESS, 8080)  # nor by what is published
        assert said(net.machine.neighbour.talk(Machine.ADDRESS, 8080), server) == Machine.NEIGHBOUR
    with net.machine.neighbour.listen(80) as server:
        assert said(other.space.talk(Machine.NEIGHBOUR, 80), server) == Machine.ADDRESS


def test_nobody_is_told_of_a_shorter_way(net: Net) -> None:
    """A container that believed the redirect would ask the other one under the machine's address, and in vain."""
    network = net.create("front")
    server_of, friend = web(net, network), net.start("friend", network)
    Path("/proc/sys/net/ipv4/conf/all/send_redirects").write_text("1")
    with server_of.space.listen(80) as server:
        for _ in range(3):
            said(friend.space.talk(Machine.ADDRESS, 8080), server)
    snmp = (line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line.startswith("Icmp:"))
    assert dict(zip(*snmp, strict=True))["OutRedirects"] == "0"


def test_a_network_has_the_size_of_packets_it_was_made_with(net: Net) -> None:
    one = net.start("one", net.create("small", mtu=1280))
    assert "mtu 1280" in one.space.ip("link", "show", "eth0")
    assert "mtu 1280" in net.machine.ip("link", "show", one.reservation.endpoints[0].bridge)


def test_a_container_without_ipv6_has_no_address_of_it(net: Net) -> None:
    one = net.start("one", net.create("front"))
    assert "inet6" not in one.space.ip("address", "show", "eth0")
    assert "inet6 ::1" in one.space.ip("address", "show", "lo")


def test_a_container_believes_nobody_who_says_he_is_a_router(net: Net) -> None:
    one = net.start("one", net.create("front", ipv6=True))
    assert one.space.setting("net/ipv6/conf/eth0/accept_ra") == "0"
    assert net.machine.setting(f"net/ipv6/conf/{one.reservation.endpoints[0].bridge}/accept_ra") == "0"


def test_another_table_that_drops_has_the_last_word(net: Net) -> None:
    network = net.create("front")
    one = net.start("one", network)
    rules = "table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; }; }"
    subprocess.run(["nft", rules], check=True)
    with net.machine.neighbour.listen(80):
        assert is_closed(one.space, Machine.NEIGHBOUR, 80)


def test_the_default_network_is_the_same_for_all(net: Net) -> None:
    one, two = net.start("one", definitions.default(net.place)), net.start("two", definitions.load(net.place, "bridge"))
    with two.space.listen(80) as server:
        assert said(one.space.talk(two.ip, 80), server) == one.ip
