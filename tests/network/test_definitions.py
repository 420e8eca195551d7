"""Networks on the disk, and which subnets they get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, StorageError
from cratebox.network import definitions, pools
from cratebox.network.model import Network, Subnet
from support.netspaces import Net


def test_a_network_is_as_it_was_wished_and_found_by_name_and_id(net: Net) -> None:
    made = net.create("front", "10.77.0.0/24", "fd77::/64", ipv6=True, labels={"a": "b"}, options={"o": "p"}, mtu=1400)
    assert made.subnets == (Subnet("10.77.0.0/24", "10.77.0.1"), Subnet("fd77::/64", "fd77::1"))
    for reference in ("front", made.id, made.id[:8]):
        assert definitions.load(net.place, reference) == made
    shown = net.machine.ip("address", "show", made.interface)
    assert "10.77.0.1/24" in shown
    assert "fd77::1/64" in shown


def test_the_default_network_is_made_once_and_comes_first(net: Net) -> None:
    net.create("aaa")
    made = definitions.default(net.place)
    assert definitions.default(net.place) == made == definitions.load(net.place, "bridge")
    assert made.subnets[0].subnet == "10.90.0.0/20"
    assert not made.names
    assert [one.name for one in definitions.all_of(net.place)] == ["bridge", "aaa"]


def test_a_range_that_the_machine_uses_is_passed_over(net: Net) -> None:
    net.machine.ip("route", "add", "10.90.0.0/18", "via", net.machine.NEIGHBOUR)
    assert definitions.default(net.place).subnets[0].subnet == "10.90.64.0/20"
    assert net.create("one").subnets[0].subnet == "10.91.0.0/24"
    assert net.create("two").subnets[0].subnet == "10.91.1.0/24"


def test_where_all_of_10_is_elsewhere_another_range_is_taken(net: Net) -> None:
    net.machine.ip("route", "add", "10.0.0.0/8", "via", net.machine.NEIGHBOUR)
    net.machine.ip("route", "add", "0.0.0.0/1", "via", net.machine.NEIGHBOUR)  # a default route in two halves, of a VPN
    net.machine.ip("route", "add", "128.0.0.0/1", "via", net.machine.NEIGHBOUR)
    assert definitions.default(net.place).subnets[0].subnet == "172.30.0.0/20"


@pytest.mark.parametrize(
    ("subnets", "words", "error", "text"),
    [
        (["10.77.0.0/25"], {}, Conflict, "subnet 10.77.0.0/25 overlaps with 10.77.0.0/24 of network there"),
        (["10.0.0.0/8"], {}, Conflict, "subnet 10.0.0.0/8 overlaps with 10.77.0.0/24 of network there"),
        (["192.0.0.0/16"], {}, Conflict, "subnet 192.0.0.0/16 overlaps with 192.0.2.0/24, which eth0 leads to"),
        (["10.78.0.5/24"], {}, InvalidValue, "subnet 10.78.0.5/24: there are bits of the host in its address"),
        (["10.78.0.0"], {}, InvalidValue, "'10.78.0.0' is not a subnet"),
        (["10.78.0.0/33"], {}, InvalidValue, "'10.78.0.0/33' is not a subnet"),
        (["10.78.0.0/31"], {}, InvalidValue, "subnet 10.78.0.0/31 has no room for a gateway and a container"),
        (["127.1.0.0/24"], {}, InvalidValue, "subnet 127.1.0.0/24 overlaps with 127.0.0.0/8, which is not for networks"),
        (["fe80::/64"], {"ipv6": True}, InvalidValue, "subnet fe80::/64 overlaps with fe80::/10"),
        (["fd78::/64"], {}, InvalidValue, "network front: subnet fd78::/64 is of IPv6"),
        (["10.78.0.0/24", "10.79.0.0/24"], {}, InvalidValue, "network front: two subnets of one kind"),
        ([], {"interface": "eth0"}, Conflict, "network front: there is an interface eth0 already"),
        ([], {"interface": 'a" drop'}, InvalidValue, "interface name 'a\" drop'"),
        ([], {"interface": "a" * 16}, InvalidValue, "interface name"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    net: Net, subnets: list[str], words: dict[str, object], error: type[CrateError], text: str
) -> None:
    net.create("there", "10.77.0.0/24")
    before = net.machine.ip("-br", "link", "show")
    with pytest.raises(error) as caught:
        net.create("front", *subnets, **words)
    assert str(caught.value).startswith(text)
    assert [one.name for one in definitions.all_of(net.place)] == ["there"]
    assert net.machine.ip("-br", "link", "show") == before


def test_a_range_that_is_wished_may_be_part_of_one_that_the_machine_leads_elsewhere(net: Net) -> None:
    network = net.create("front", "192.0.2.128/25")  # more exact, so ours comes first
    assert net.start("one", network).ip == "192.0.2.130"


@pytest.mark.parametrize(
    ("subnet", "text"),
    [
        (Subnet("10.78.0.0/24", gateway="10.79.0.1"), "--gateway 10.79.0.1 is not in subnet 10.78.0.0/24"),
        (Subnet("10.78.0.0/24", gateway="10.78.0.255"), "--gateway 10.78.0.255 is the address of the whole subnet"),
        (Subnet("10.78.0.0/24", ip_range="10.79.0.0/25"), "--ip-range 10.79.0.0/25 is not inside of subnet 10.78.0.0/24"),
        (Subnet("10.78.0.0/24", ip_range="10.78.0.1/32"), "--ip-range 10.78.0.1/32 has no address for a container"),
        (Subnet("10.78.0.0/24", ip_range="10.78.0.0/31"), "--ip-range 10.78.0.0/31 has no address for a container"),
        (Subnet("10.78.0.0/30", reserved={"r": "10.78.0.2"}), "subnet 10.78.0.0/30 has no address for a container"),
        (Subnet("10.78.0.0/24", reserved={"r": "10.1.1.1"}), "--aux-address r 10.1.1.1 is not in subnet 10.78.0.0/24"),
    ],
)
def test_parts_that_are_not_in_the_subnet_are_refused(net: Net, subnet: Subnet, text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        definitions.create(net.place, Network("", "front", "", (subnet,)))
    assert str(caught.value).startswith(text)


def test_only_the_range_that_is_for_it_is_given_out(net: Net) -> None:
    subnet = Subnet("10.78.0.0/24", ip_range="10.78.0.64/30", reserved={"r": "10.78.0.65"})
    network = definitions.create(net.place, Network("", "front", "", (subnet,), names=False))
    found = {net.reserve(name, network).endpoints[0].ip for name in ("one", "two", "three")}
    assert found == {"10.78.0.64", "10.78.0.66", "10.78.0.67"}
    with pytest.raises(Conflict, match=r"all addresses of 10\.78\.0\.64/30 are in use"):
        net.reserve("four", network)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a/b", "a b", "ä", "a" * 129, "a\n", "host", "none", "container"])
def test_a_name_that_is_none_is_refused(net: Net, name: str) -> None:
    with pytest.raises(InvalidValue):
        net.create(name)


def test_a_name_that_is_taken_is_refused(net: Net) -> None:
    net.create("front")
    with pytest.raises(Conflict, match="there is a network front"):
        net.create("front")
    with pytest.raises(Conflict, match="there is a network bridge"):
        net.create("bridge")


def test_a_network_that_is_not_there_is_told(net: Net) -> None:
    for reference in ("front", "", "../front", "f" * 64, "a\0b"):
        with pytest.raises(NotFound):
            definitions.load(net.place, reference)


def test_a_network_that_is_used_stays_and_one_that_is_not_goes_with_its_bridge(net: Net) -> None:
    network = net.create("front")
    one = net.start("web", network)
    with pytest.raises(Conflict, match="network front is in use by web"):
        definitions.remove(net.place, network)
    one.space.end()  # killed, with nobody to say so
    definitions.remove(net.place, network)
    assert network.interface not in net.machine.ip("link", "show")
    assert definitions.all_of(net.place) == []
    with pytest.raises(NotFound):
        definitions.remove(net.place, network)
    with pytest.raises(Conflict, match="network bridge is the default one"):
        definitions.remove(net.place, definitions.default(net.place))


def test_many_that_are_made_at_once_do_not_overlap(net: Net, tmp_path: Path) -> None:
    """Of two crates, each with a lock of its own: the machine has one as well."""
    other = Net(net.machine, net.place.__class__(f"{tmp_path}/root2", f"{tmp_path}/state2"))
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            try:
                (net, other)[number % 2].create(f"n{number}")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    found = [one.subnets[0].subnet for place in (net.place, other.place) for one in definitions.all_of(place)]
    assert len(set(found)) == 8


def test_a_damaged_record_is_told(net: Net) -> None:
    net.create("front")
    Path(net.place.root, "networks", "front.json").write_text("{")
    with pytest.raises(StorageError, match=r"damaged: .*/networks/front\.json"):
        definitions.load(net.place, "front")


def test_pools_do_not_overlap_with_what_is_never_for_networks() -> None:
    for words in (*pools._DEFAULT_POOLS, *pools._POOLS):
        assert not any(pools.parse_range(words).overlaps(one) for one in pools._UNUSABLE)


def test_a_network_with_the_interface_of_another_crates_default_one_takes_nothing_from_it(net: Net) -> None:
    net.machine.ip("link", "add", "crate0", "type", "bridge")
    with pytest.raises(Conflict, match="there is an interface crate0 already"):
        net.create("mine", interface="crate0")
    assert "crate0" in net.machine.ip("-br", "link", "show", "type", "bridge")
    assert definitions.all_of(net.place) == []
