"""Reserving, attaching, joining, leaving and giving back, and what is left of those who are killed."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cratebox.errors import Conflict, InvalidValue, NotFound, RuntimeFailure, Unsupported
from cratebox.linux import lock, process
from cratebox.network import bridge, definitions, endpoints, firewall, upkeep
from cratebox.network.inside import Target
from cratebox.network.model import Port, Subnet, Wish
from support.netspaces import Machine, Net, Netspace, owner_of


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def rules() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def links(net: Net) -> list[str]:
    """Return the names of the machine's interfaces. Not their states: its own may just be coming up."""
    return [line.split()[0] for line in net.machine.ip("-br", "link", "show").splitlines()]


def ends(net: Net) -> list[str]:
    """The ends of pairs that are on bridges."""
    return re.findall(r"\bcrv\w+", net.machine.ip("link", "show"))


def test_addresses_go_round(net: Net) -> None:
    network = net.create("front", "10.77.0.0/29")
    first = net.reserve("one", network).endpoints[0].ip
    endpoints.release(net.place, owner_of("one"))
    others = [net.reserve(f"other{n}", network).endpoints[0].ip for n in range(4)]
    assert (first, others) == ("10.77.0.2", ["10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6"])
    assert net.reserve("last", network).endpoints[0].ip == first
    with pytest.raises(Conflict, match=r"network front: all addresses of 10\.77\.0\.0/29 are in use"):
        net.reserve("late", network)


def test_who_is_reserved_for_again_keeps_his_addresses(net: Net) -> None:
    network = net.create("front", ipv6=True)
    before = net.reserve("one", network)
    after = net.reserve("one", network)
    assert [(one.ip, one.ip6, one.mac) for one in before.endpoints] == [(one.ip, one.ip6, one.mac) for one in after.endpoints]
    assert before.endpoints[0].outside != after.endpoints[0].outside


def test_fifty_at_once_have_fifty_addresses_and_ports(net: Net) -> None:
    network = net.create("front")
    reading, telling = os.pipe()
    children = []
    for number in range(50):
        child = os.fork()
        if child == 0:
            try:
                firewall._kept.clear()
                made = net.reserve(f"n{number}", network, ports=(Port(80),))
                os.write(telling, f"{made.endpoints[0].ip} {made.ports[0].host}\n".encode())
            finally:
                signal.pause()
        children.append(child)
    os.close(telling)
    try:
        found = b""
        while found.count(b"\n") < 50:
            part = os.read(reading, 4096)
            assert part
            found += part
    finally:
        os.close(reading)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    lines = [line.split() for line in found.decode().splitlines()]
    assert len({ip for ip, _port in lines}) == len({port for _ip, port in lines}) == 50


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ({"ip": "10.78.0.5"}, InvalidValue, "--ip 10.78.0.5 is not in subnet 10.77.0.0/24 of network front"),
        ({"ip": "10.77.0.0"}, InvalidValue, "--ip 10.77.0.0 is the address of the whole subnet 10.77.0.0/24"),
        ({"ip": "10.77.0.255"}, InvalidValue, "--ip 10.77.0.255 is the address of the whole subnet"),
        ({"ip": "10.77.0.1"}, Conflict, "--ip 10.77.0.1 is the gateway of network front"),
        ({"ip": "10.77.0.9"}, Conflict, "--ip 10.77.0.9 is kept free in network front"),
        ({"ip": "10.77.0.33"}, Conflict, "--ip 10.77.0.33 is used by there on network front"),
        ({"ip": "fd00::5"}, InvalidValue, "--ip fd00::5 is not an address of IPv4"),
        ({"ip": "10.77.0.x"}, InvalidValue, "'10.77.0.x' is not an IP address"),
        ({"ip6": "fd00::5"}, InvalidValue, "--ip6 fd00::5: network front has no IPv6"),
        ({"mac": "02:42:0a"}, InvalidValue, "'02:42:0a' is not a hardware address"),
        ({"mac": "03:42:0a:00:00:01"}, InvalidValue, "03:42:0a:00:00:01 is not the hardware address of an interface"),
    ],
)
def test_what_cannot_be_wished_is_refused_and_nothing_is_kept(
    net: Net, words: dict[str, str], error: type[Exception], text: str
) -> None:
    subnet = Subnet("10.77.0.0/24", reserved={"router": "10.77.0.9"})
    network = definitions.create(net.place, definitions.Network("", "front", "", (subnet,)))
    net.reserve("there", Wish(network, ip="10.77.0.33"))
    with pytest.raises(error) as caught:
        net.reserve("one", Wish(network, **words))
    assert str(caught.value).startswith(text)
    assert endpoints.of_owner(net.place, owner_of("one")) is None


def test_wishes_are_fulfilled(net: Net) -> None:
    network = net.create("front", "10.77.0.0/24", "fd77::/64", ipv6=True)
    one = net.start("one", Wish(network, "lan", ip="10.77.0.33", ip6="fd77::33", mac="02:42:00:00:00:77", aliases=("db",)))
    shown = one.space.ip("address", "show", "lan")
    assert "10.77.0.33/24" in shown
    assert "fd77::33/64" in shown
    assert "02:42:00:00:00:77" in shown
    assert endpoints.on_network(net.place, network.id) == (("one", owner_of("one"), one.reservation.endpoints[0]),)


def test_a_port_that_is_published_is_refused_by_name(net: Net) -> None:
    network = net.create("front")
    net.reserve("web", network, ports=(Port(80, host=8080),))
    with pytest.raises(Conflict, match=r"^port 8080/tcp is published by web$"):
        net.reserve("other", network, ports=(Port(80, host=8080),))
    with pytest.raises(Conflict, match="published by web"):
        net.reserve("other", network, ports=(Port(80, host=8080, host_ip="127.0.0.1"),))
    assert net.reserve("other", network, ports=(Port(53, "udp", host=8080),))


def test_a_port_of_a_process_is_refused_by_its_name(net: Net) -> None:
    network = net.create("front")
    for kind, protocol in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        with net.machine.listen(8080, "127.0.0.1", kind), pytest.raises(Conflict) as caught:
            net.reserve("web", network, ports=(Port(80, protocol, host=8080),))
        comm = Path("/proc/self/comm").read_text().strip()
        assert str(caught.value) == f"port 8080/{protocol} is in use by {comm} (process {os.getpid()})"


def test_a_port_that_is_wished_twice_is_refused(net: Net) -> None:
    with pytest.raises(Conflict, match="port 8080/tcp is wished twice"):
        net.reserve("web", net.create("front"), ports=(Port(80, host=8080), Port(81, host=8080)))


def test_a_port_is_free_again_that_has_connections_which_ended(net: Net) -> None:
    network = net.create("front")
    with net.machine.listen(8080, "127.0.0.1") as server, net.machine.talk("127.0.0.1", 8080) as client:
        talk, _ = server.accept()
        talk.close()  # who closes first keeps the port for a minute (TIME_WAIT)
        assert client.recv(1) == b""
    until(lambda: "TIME-WAIT" in subprocess.run(["ss", "-tan"], capture_output=True, text=True).stdout)
    assert net.reserve("web", network, ports=(Port(80, host=8080),)).ports[0].host == 8080


def test_the_first_free_port_of_a_range_is_taken(net: Net) -> None:
    network = net.create("front")
    wanted = (Port(80, host=8000, host_last=8002),)
    with net.machine.listen(8001):
        assert [net.reserve(name, network, ports=wanted).ports for name in ("one", "two")] == [
            (Port(80, host=8000, host_ip="0.0.0.0"),),
            (Port(80, host=8002, host_ip="0.0.0.0"),),
        ]
        with pytest.raises(Conflict, match="no tcp port from 8000 to 8002 is free"):
            net.reserve("three", network, ports=wanted)


def test_a_port_is_published_over_ipv6_where_the_container_has_it(net: Net) -> None:
    with_it, without = net.create("with", ipv6=True), net.create("without")
    assert net.reserve("one", with_it, ports=(Port(80, host=8080),)).ports == (Port(80, host=8080),)
    assert net.reserve("two", without, ports=(Port(80, host=8081),)).ports == (Port(80, host=8081, host_ip="0.0.0.0"),)


def test_the_same_port_at_two_addresses_is_no_conflict(net: Net) -> None:
    network = net.create("front")
    for number, address in enumerate((Machine.ADDRESS, "127.0.0.1", "127.0.0.2", Machine.ADDRESS6)):
        net.reserve(f"web{number}", network, ports=(Port(80, host=8080, host_ip=address),))
    with pytest.raises(Conflict, match=r"^192\.0\.2\.99 is not an address of this machine$"):
        net.reserve("web", network, ports=(Port(80, host=8080, host_ip="192.0.2.99"),))


@pytest.mark.parametrize(
    ("port", "error", "text"),
    [
        (Port(80, "icmp"), Unsupported, "ports of icmp cannot be published"),
        (Port(0, host=80), InvalidValue, "port 80:0 is none"),
        (Port(80, host=65536), InvalidValue, "port 65536:80 is none"),
        (Port(80, host=80, host_ip="::1"), Unsupported, "ports cannot be published at ::1"),
        (Port(80, host=80, host_ip="localhost"), InvalidValue, "'localhost' is not an IP address"),
    ],
)
def test_what_is_no_port_is_refused(net: Net, port: Port, error: type[Exception], text: str) -> None:
    network = net.create("front")
    with pytest.raises(error) as caught:
        net.reserve("web", network, ports=(port,))
    assert str(caught.value).startswith(text)


def test_nobody_else_can_have_a_port_that_is_held(net: Net) -> None:
    held: list[int] = []
    wanted = (Port(80, host=8080), Port(53, "udp", host=8080))
    net.reserve("web", net.create("front", ipv6=True), ports=wanted, hold=held)
    try:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for address in ("127.0.0.1", "0.0.0.0", "::1"):
                with pytest.raises(OSError, match="in use"):
                    net.machine.listen(8080, address, kind)
    finally:
        for fd in held:
            os.close(fd)
    net.machine.listen(8080).close()


def test_more_ports_than_files_may_be_open_are_refused_before_the_first_is_had(net: Net) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ports = tuple(Port(80 + n, host=8000 + n) for n in range(400))
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    try:
        with pytest.raises(Conflict, match="400 published ports take as many open files, and a process may have 500 here"):
            net.reserve("one", net.create("front"), ports=ports)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert endpoints.all_of(net.place) == ()


def test_a_port_needs_a_network_that_is_not_internal(net: Net) -> None:
    with pytest.raises(Conflict, match="a port cannot be published where all networks are internal"):
        net.reserve("web", net.create("inner", internal=True), ports=(Port(80, host=8080),))


def test_what_a_killed_one_had_is_gone_after_the_next_command(net: Net, tmp_path: Path) -> None:
    network = net.create("front", "10.77.0.0/30")  # one container, and no more
    path = str(tmp_path / "lock")
    held = lock.hold(path)
    one = net.start("web", network, ports=(Port(80, host=8080),), lock=path)
    assert "tcp . 8080 : 10.77.0.2 . 80" in rules()
    with pytest.raises(Conflict):
        net.reserve("other", network, lock=path)
    one.space.end()
    with pytest.raises(Conflict):  # its supervisor lives, and may start it again
        net.reserve("other", network, lock=path)
    lock.release(held)
    assert net.reserve("other", network, ports=(Port(81, host=8080),), lock=path).endpoints[0].ip == "10.77.0.2"
    assert "tcp . 8080" not in rules()
    until(lambda: not ends(net))


def test_who_lives_without_anybody_who_cares_keeps_what_he_has(net: Net, tmp_path: Path) -> None:
    network = net.create("front")
    one = net.start("web", network, ports=(Port(80, host=8080),), lock=str(tmp_path / "nobody"))
    upkeep.sweep(net.place)
    assert endpoints.of_owner(net.place, owner_of("web")) == one.reservation
    one.space.end()
    upkeep.sweep(net.place)
    assert endpoints.of_owner(net.place, owner_of("web")) is None


def test_a_later_process_with_the_same_number_is_not_gone_into() -> None:
    started = process.start_time(os.getpid())
    with Target(os.getpid(), started=started) as target:
        target.check()
    with pytest.raises(ProcessLookupError):
        Target(os.getpid(), started=started - 1)


def test_release_leaves_nothing(net: Net) -> None:
    one = net.start("web", net.create("front", ipv6=True), ports=(Port(80, host=8080), Port(53, "udp", host=53, host_ip="::")))
    assert rules().count("8080") == 2
    one.space.end()
    endpoints.release(net.place, owner_of("web"))
    endpoints.release(net.place, owner_of("web"))
    assert "8080" not in rules()
    assert endpoints.all_of(net.place) == ()
    until(lambda: not ends(net))


def test_rules_that_somebody_deleted_are_there_again_with_the_next_command(net: Net) -> None:
    network = net.create("front")
    net.start("web", network, ports=(Port(80, host=8080),))
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    net.reserve("other", network)
    assert re.search(r"tcp \. 8080 : 10\.\d+\.\d+\.2 \. 80", rules())


def test_rules_that_somebody_deleted_are_there_again_when_somebody_looks_at_a_network(net: Net) -> None:
    """Without them a container reaches the machine's 127.0.0.1."""
    net.start("web", net.create("front"), ports=(Port(80, host=8080),))
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    upkeep.sweep(net.place)
    found = rules()
    assert re.search(r"tcp \. 8080 : 10\.\d+\.\d+\.2 \. 80", found)
    assert "iifname @bridges ip daddr 127.0.0.0/8 drop" in found


def test_rules_that_are_deleted_between_reserve_and_attach_are_loaded(net: Net) -> None:
    reservation = net.reserve("web", net.create("front"), ports=(Port(80, host=8080),))
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    endpoints.attach(net.place, reservation, net.space().pid)
    assert "tcp . 8080 : " in rules()
    assert "masquerade" in rules()


def test_a_bridge_that_is_gone_is_made_again(net: Net) -> None:
    network = net.create("front")
    net.machine.ip("link", "delete", network.interface)
    one = net.start("one", network)
    with net.machine.listen(80, network.subnets[0].gateway):
        one.space.talk(network.subnets[0].gateway, 80).close()


def test_who_joins_and_leaves_is_there_and_is_not(net: Net) -> None:
    front, back = net.create("front"), net.create("back")
    one, two = net.start("one", front), net.start("two", back)
    made = endpoints.join(net.place, owner_of("one"), "one", Wish(back), one.space.target)
    assert made.interface == "eth1"
    with two.space.listen(80):
        one.space.talk(two.ip, 80).close()
    with pytest.raises(Conflict, match="one is on network back already"):
        endpoints.join(net.place, owner_of("one"), "one", Wish(back), one.space.target)
    endpoints.leave(net.place, owner_of("one"), back.id, one.space.target)
    assert "eth1" not in one.space.ip("link", "show")
    with pytest.raises(NotFound, match="one is not on this network"):
        endpoints.leave(net.place, owner_of("one"), back.id, one.space.target)


def test_who_joins_again_has_the_address_that_he_had_unless_it_is_anothers(net: Net) -> None:
    front, back = net.create("front"), net.create("back")
    one, owner = net.start("one", front), owner_of("one")
    first = endpoints.join(net.place, owner, "one", Wish(back), one.space.target)
    endpoints.leave(net.place, owner, back.id, one.space.target)
    again = endpoints.join(net.place, owner, "one", Wish(back), one.space.target)
    assert (again.ip, again.mac) == (first.ip, first.mac)
    assert again.outside != first.outside
    endpoints.leave(net.place, owner, back.id, one.space.target)
    net.reserve("other", Wish(back, ip=first.ip))
    assert endpoints.join(net.place, owner, "one", Wish(back), one.space.target).ip not in {"", first.ip}


def test_who_comes_back_has_the_addresses_that_he_had_and_nothing_of_before_answers_for_him(net: Net) -> None:
    network, other = net.create("front", ipv6=True), net.create("other")
    first = net.start("one", network)
    endpoints.release(net.place, owner_of("one"))
    assert first.reservation.endpoints[0].outside in ends(net)  # its namespace is still there
    former = first.reservation.left(first.reservation.endpoints)
    again = net.start("one", other, network, former=former)
    assert (again.reservation.endpoints[1].ip, again.reservation.endpoints[1].ip6) == (first.ip, first.ip6)
    assert first.reservation.endpoints[0].outside not in ends(net)
    with again.space.listen(80):
        net.machine.talk(first.ip, 80).close()


def test_of_what_somebody_had_on_many_networks_the_last_is_remembered(net: Net) -> None:
    network = net.create("front")
    found = net.reserve("one", network)
    for number in range(40):
        there = found.endpoints[0].replace(network=f"{number}", ip=f"10.9.0.{number + 1}")
        found = found.replace(former=found.left((there,)))
    assert [one.ip for one in found.former] == [f"10.9.0.{number}" for number in range(40, 24, -1)]
    assert [one.ip for one in found.left((found.endpoints[0].replace(network="39", ip="10.9.9.9"),))[:2]] == [
        "10.9.9.9",
        "10.9.0.39",
    ]


def test_whose_number_is_anothers_by_now_is_not_plugged_into_that_one(net: Net) -> None:
    front, back = net.create("front"), net.create("back", names=True)
    net.start("one", front)
    stranger = net.space()
    ended = Netspace()
    held = os.dup(ended.target.pidfd)
    ended.end()
    try:
        target = Target(stranger.pid, held)
        with pytest.raises(RuntimeFailure, match=r"network back: .*No such process"):
            endpoints.join(net.place, owner_of("one"), "one", Wish(back), target)
        with target, pytest.raises(ProcessLookupError):
            target.open_namespaces()
    finally:
        os.close(held)
    assert stranger.ip("-br", "link", "show").split()[0] == "lo"
    assert len(stranger.ip("-br", "link", "show").splitlines()) == 1
    assert [end.name for end in endpoints.of_owner(net.place, owner_of("one")).endpoints] == ["front"]


def test_the_way_outside_and_published_ports_move_to_the_next_network(net: Net) -> None:
    front, back = net.create("front", ipv6=True), net.create("back", ipv6=True)
    one = net.start("one", front, ports=(Port(80, host=8080),))
    endpoints.join(net.place, owner_of("one"), "one", Wish(back), one.space.target)
    endpoints.leave(net.place, owner_of("one"), front.id, one.space.target)
    neighbour = net.machine.neighbour
    with neighbour.listen(80), neighbour.listen(81, "::"), one.space.listen(80):
        one.space.talk(Machine.NEIGHBOUR, 80).close()
        one.space.talk(Machine.NEIGHBOUR6, 81).close()
        neighbour.talk(Machine.ADDRESS, 8080).close()


def test_who_does_not_run_joins_and_leaves_as_well(net: Net) -> None:
    front, back = net.create("front"), net.create("back")
    net.reserve("one", front)
    endpoints.join(net.place, owner_of("one"), "one", Wish(back), None)
    reservation = endpoints.of_owner(net.place, owner_of("one"))
    assert reservation
    assert [one.name for one in reservation.endpoints] == ["front", "back"]
    container = net.space()
    endpoints.attach(net.place, reservation, container.pid)
    assert "eth1" in container.ip("link", "show")


def test_a_container_that_starts_again_is_attached_again(net: Net) -> None:
    network = net.create("front")
    one = net.start("web", network, ports=(Port(80, host=8080),))
    again = net.space()
    one.space.end()
    endpoints.attach(net.place, one.reservation, again.pid)
    with again.listen(80):
        net.machine.neighbour.talk(Machine.ADDRESS, 8080).close()


def test_a_client_of_udp_that_never_stops_reaches_the_next_container(net: Net) -> None:
    """The kernel remembers where its packets went (or that nobody was there), as long as they come."""
    network = net.create("front")
    with net.machine.neighbour.open(Machine.ADDRESS, socket.SOCK_DGRAM) as client:
        client.connect((Machine.ADDRESS, 5353))
        client.send(b"too early")
        for name in ("first", "second"):
            one = net.start(name, network, ports=(Port(53, "udp", host=5353),))
            with one.space.listen(53, kind=socket.SOCK_DGRAM) as server:
                try:
                    client.send(name.encode())
                except ConnectionRefusedError:  # the answer to what was sent before
                    client.send(name.encode())
                assert server.recv(16) == name.encode()
            one.space.end()
            endpoints.release(net.place, owner_of(name))


def test_a_name_changes(net: Net) -> None:
    network = net.create("front")
    net.reserve("one", network, ports=(Port(80, host=8080),))
    endpoints.rename(net.place, owner_of("one"), "uno")
    with pytest.raises(Conflict, match="published by uno"):
        net.reserve("two", network, ports=(Port(80, host=8080),))


def test_shut_down_leaves_nothing_but_what_was_there_before(net: Net) -> None:
    net.machine.sysctl("net/ipv4/ip_forward", "1")
    before = (links(net), rules())
    net.start("web", net.create("front"), net.create("back"), ports=(Port(80, host=8080),))
    upkeep.shut_down(net.place)
    until(lambda: not ends(net))
    assert (links(net), rules()) == before


def test_what_nobody_uses_is_tidied_up_and_made_again(net: Net) -> None:
    net.machine.sysctl("net/ipv4/ip_forward", "1")
    before = (links(net), rules())
    network = net.create("front")
    one = net.start("web", network)
    assert upkeep.tidy(net.place) == ()
    one.space.end()
    assert upkeep.tidy(net.place) == (network.interface,)
    until(lambda: not ends(net))
    assert (links(net), rules()) == before
    firewall.load(net.place, [], [])  # as a bridge leaves it behind that somebody deleted
    assert upkeep.tidy(net.place) == ()
    assert rules() == before[1]
    with net.start("web", network, ports=(Port(80, host=8080),)).space.listen(80):
        net.machine.neighbour.talk(Machine.ADDRESS, 8080).close()


def test_two_crates_on_one_machine_do_not_touch_each_other(net: Net, tmp_path: Path) -> None:
    other = Net(net.machine, net.place.__class__(f"{tmp_path}/root2", f"{tmp_path}/state2"), net.containers)
    one, two = net.start("web", net.default(), ports=(Port(80, host=8080),)), other.start("web", other.default())
    assert one.reservation.endpoints[0].ip != two.reservation.endpoints[0].ip
    upkeep.shut_down(other.place)
    with one.space.listen(80):
        net.machine.neighbour.talk(Machine.ADDRESS, 8080).close()


# What keeps a machine from networks


def test_a_machine_that_did_not_forward_does_with_the_first_network(net: Net) -> None:
    assert net.machine.setting("net/ipv4/ip_forward") == "0"
    net.create("inner", internal=True)
    assert net.machine.setting("net/ipv4/ip_forward") == "0"
    net.create("front")
    assert net.machine.setting("net/ipv4/ip_forward") == "1"


@pytest.fixture
def stranger(net: Net) -> Iterator[Netspace]:
    """Somebody on another network of the machine, whose way to elsewhere leads through it."""
    space = Netspace()
    try:
        net.machine.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", str(space.pid))
        for who, name, number in ((net.machine, "eth1", 1), (space, "eth0", 2)):
            who.ip("address", "add", f"198.51.100.{number}/24", "dev", name)
            who.ip("address", "add", f"2001:db8:1::{number}/64", "dev", name, "nodad")
            who.ip("link", "set", name, "up")
        for who, gateway, gateway6 in (
            (space, "198.51.100.1", "2001:db8:1::1"),
            (net.machine.neighbour, Machine.ADDRESS, Machine.ADDRESS6),
        ):
            who.ip("route", "add", "default", "via", gateway)
            who.ip("-6", "route", "add", "default", "via", gateway6)
        yield space
    finally:
        space.end()


def test_a_machine_that_was_no_router_is_one_for_containers_alone(net: Net, stranger: Netspace) -> None:
    """Else whoever is on one of its networks would from then on be on all the others, a VPN's as well."""
    net.machine.sysctl("net/ipv6/conf/all/forwarding", "0")
    web = net.start("web", net.create("front", ipv6=True), ports=(Port(80, host=8080),))
    assert net.machine.setting("net/ipv4/ip_forward") == net.machine.setting("net/ipv6/conf/all/forwarding") == "1"
    with net.machine.neighbour.listen(81), net.machine.neighbour.listen(82, "::"):
        for address, port in ((Machine.NEIGHBOUR, 81), (Machine.NEIGHBOUR6, 82)):
            web.space.talk(address, port).close()
            with pytest.raises(TimeoutError):
                stranger.talk(address, port, seconds=0.5)
    with web.space.listen(80):
        stranger.talk("198.51.100.1", 8080).close()
    upkeep.shut_down(net.place)
    assert net.machine.setting("net/ipv4/ip_forward") == "1"  # others may rely on it by now; so it stays as it is:
    with net.machine.neighbour.listen(81), pytest.raises(TimeoutError):
        stranger.talk(Machine.NEIGHBOUR, 81, seconds=0.5)


def test_a_machine_whose_owner_made_it_a_router_stays_one(net: Net, stranger: Netspace) -> None:
    net.machine.sysctl("net/ipv4/ip_forward", "1")
    net.create("front")
    with net.machine.neighbour.listen(81):
        stranger.talk(Machine.NEIGHBOUR, 81).close()


def test_interfaces_whose_owner_had_them_forward_still_do(net: Net, stranger: Netspace) -> None:
    for name in ("eth0", "eth1"):
        net.machine.sysctl(f"net/ipv4/conf/{name}/forwarding", "1")
    assert net.machine.setting("net/ipv4/ip_forward") == "0"
    net.create("front")
    with net.machine.neighbour.listen(81):
        stranger.talk(Machine.NEIGHBOUR, 81).close()


def test_a_machine_that_forwards_ipv6_still_hears_its_router(net: Net) -> None:
    net.machine.sysctl("net/ipv6/conf/all/forwarding", "0")
    net.machine.sysctl("net/ipv6/conf/eth0/accept_ra", "1")
    net.create("front", ipv6=True)
    assert net.machine.setting("net/ipv6/conf/all/forwarding") == "1"
    assert net.machine.setting("net/ipv6/conf/eth0/accept_ra") == "2"


def test_without_nft_no_network_is_made(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall.os, "access", lambda path, mode: not path.endswith("/nft"))
    before = net.machine.ip("-br", "link", "show")
    with pytest.raises(Unsupported, match="networks need the program nft, which is not there") as caught:
        net.create("front")
    assert "apt-get install nftables" in str(caught.value.hint)
    assert definitions.all_of(net.place) == []
    assert net.machine.ip("-br", "link", "show") == before


def test_who_may_not_make_interfaces_is_told(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object) -> None:
        raise PermissionError(1, "make the bridge: Operation not permitted")

    monkeypatch.setattr(bridge.netlink, "perform", refused)
    with pytest.raises(Unsupported, match="network front: make the bridge: Operation not permitted"):
        net.create("front")
    assert definitions.all_of(net.place) == []


@pytest.mark.parametrize(
    ("ruleset", "text", "hint"),
    [
        ("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }",
         "the policy of the chain FORWARD is to drop", r"iptables -I FORWARD -i crate0 -j ACCEPT"),
        ("table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; }; }",
         "firewalld decides what is forwarded", r"firewall-cmd --permanent --zone=trusted --add-interface=crate0"),
        ("table inet mine { chain way { type filter hook forward priority 0; policy drop; }; }",
         "the chain way of the nftables table mine drops", r"iifname crate0 accept"),
    ],
)  # fmt: skip
def test_what_keeps_packets_from_being_forwarded_is_told(
    net: Net, monkeypatch: pytest.MonkeyPatch, ruleset: str, text: str, hint: str
) -> None:
    network = net.create("front").replace(interface="crate0")
    assert upkeep.obstacle(net.place, network) is None
    subprocess.run(["nft", ruleset], check=True)
    monkeypatch.setattr(firewall, "_says", lambda *_words: "")
    found = upkeep.obstacle(net.place, network)
    assert found
    assert found[0].startswith(text)
    assert hint in found[1]


def test_who_was_allowed_to_forward_is_not_told(net: Net) -> None:
    network = net.create("front")
    iptables = ["iptables", "-w"]
    subprocess.run([*iptables, "-P", "FORWARD", "DROP"], check=True)
    found = upkeep.obstacle(net.place, network)
    assert found
    hint = found[1]
    assert hint.startswith(f"iptables -I FORWARD -i {network.interface}")
    subprocess.run(["sh", "-c", hint], check=True)  # what was said helps
    assert upkeep.obstacle(net.place, network) == ("", "")
    one = net.start("one", network)
    with net.machine.neighbour.listen(80):
        one.space.talk(Machine.NEIGHBOUR, 80).close()
