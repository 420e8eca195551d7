"""-p, --network, --add-host and their like: what they say, what is refused, and what is made of them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings, strategies

from cratebox.engine import connections, hostfiles, network_options, network_words, published
from cratebox.engine.config import ContainerConfig, NetworkWish
from cratebox.engine.inspect_network import bindings_of
from cratebox.errors import CrateError, InvalidValue, Unsupported
from cratebox.network.model import Network, Port, Subnet


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [Port(80, "tcp", 0, "")]),
        ("0:80", [Port(80, "tcp", 0, "")]),
        (":80", [Port(80, "tcp", 0, "")]),
        ("8080:80", [Port(80, "tcp", 8080, "")]),
        ("8080:80/udp", [Port(80, "udp", 8080, "")]),
        ("9:9/SCTP", [Port(9, "sctp", 9, "")]),
        ("127.0.0.1:8080:80", [Port(80, "tcp", 8080, "127.0.0.1")]),
        ("127.0.0.1::80", [Port(80, "tcp", 0, "127.0.0.1")]),
        ("127.0.0.1:0:80", [Port(80, "tcp", 0, "127.0.0.1")]),
        ("[::1]:8080:80", [Port(80, "tcp", 8080, "::1")]),
        ("[0:0::1]:8080:80", [Port(80, "tcp", 8080, "::1")]),
        ("8000-8001:80-81", [Port(80, "tcp", 8000, ""), Port(81, "tcp", 8001, "")]),
        ("80-81", [Port(80, "tcp", 0, ""), Port(81, "tcp", 0, "")]),
        ("8000-8010:80", [Port(80, "tcp", 8000, "", 8010)]),
    ],
)
def test_what_is_published(text: str, expected: list[Port]) -> None:
    assert [one.as_dict() for one in network_words.ports([text])] == [one.as_dict() for one in expected]


def test_what_is_published_twice_is_published_once() -> None:
    assert len(network_words.ports(["8080:80", "8080:80/tcp"])) == 1


@pytest.mark.parametrize(
    "text",
    ["", ":", "x", "80:", "65536", "-1", "8080:80:", "1:2:3:4", "::1:80:80", "[::1]80", "[::1:80:80", "1.2.3:80:80", "80/",
     "80/icmp", "81-80", "8000-8001:80-82", "٨٠"],
)  # fmt: skip
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(InvalidValue):
        network_words.ports([text])


@settings(deadline=None)
@given(strategies.text(max_size=30))
def test_any_text_is_a_port_or_refused(text: str) -> None:
    for read in (
        lambda: network_words.ports([text]),
        lambda: network_words.exposed([text]),
        lambda: network_words.networks([text]),
        lambda: network_words.added_host(text),
        lambda: network_words.search_domain(text),
        lambda: network_words.interface(text),
        lambda: network_words.mac(text),
        lambda: network_options.subnets([text], [text], [text], [text]),
    ):
        with contextlib.suppress(CrateError):
            read()


def test_an_image_exposes_what_are_ports() -> None:
    assert network_words.of_image(("80/tcp", "53/udp", "90", "x", "80/tcp", "1-99999", "")) == ("80/tcp", "53/udp", "90/tcp")


def test_an_image_that_exposes_all_ports_gets_none() -> None:
    config = ContainerConfig("alpine", publish_all=True)
    assert len(network_words.wanted(config, ("1-1024/tcp",))) == 1024
    with pytest.raises(InvalidValue, match="the image exposes 131070 ports"):
        network_words.wanted(config, ("1-65535/tcp", "1-65535/udp"))


def test_publish_all_publishes_what_is_exposed_and_not_published_yet() -> None:
    config = ContainerConfig("alpine", ports=(Port(80, "tcp", 8080),), expose=("81/tcp",), publish_all=True)
    assert network_words.wanted(config, ("80/tcp", "53/udp")) == (Port(80, "tcp", 8080), Port(53, "udp"), Port(81, "tcp"))


@pytest.mark.parametrize(
    ("texts", "mode", "wishes"),
    [
        (["back"], "back", (NetworkWish("back"),)),
        (["default"], "bridge", (NetworkWish("bridge"),)),
        (["host"], "host", ()),
        (["container:web"], "container:web", ()),
        (["a", "b"], "a", (NetworkWish("a"), NetworkWish("b"))),
        (["name=a,alias=x,alias=y"], "a", (NetworkWish("a", aliases=("x", "y")),)),
        (["a,ip=10.0.0.2,ip6=fd00::2"], "a", (NetworkWish("a", ip="10.0.0.2", ip6="fd00::2"),)),
        (
            ["name=a,mac-address=02-00-00-00-00-01,gw-priority=-3"],
            "a",
            (NetworkWish("a", mac="02:00:00:00:00:01", priority=-3),),
        ),
        (['name=a,"driver-opt=com.docker.network.endpoint.ifname=x0"'], "a", (NetworkWish("a", interface="x0"),)),
    ],
)
def test_what_network_says(texts: list[str], mode: str, wishes: tuple[NetworkWish, ...]) -> None:
    found, given = network_words.networks(texts)
    assert (found, [one.as_dict() for one in given]) == (mode, [one.as_dict() for one in wishes])


@pytest.mark.parametrize(
    "texts",
    [["a", "a"], ["a", "host"], ["host", "host"], ["alias=x"], ["name=a,colour=red"], ["name=host,ip=1.2.3.4"], ["a,b"]],
)
def test_what_network_cannot_say(texts: list[str]) -> None:
    with pytest.raises(InvalidValue):
        network_words.networks(texts)


def test_other_options_of_drivers_are_not_there() -> None:
    with pytest.raises(Unsupported):
        network_words.networks(["name=a,driver-opt=x=y"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db:10.0.0.7", "db:10.0.0.7"),
        ("db=10.0.0.7", "db:10.0.0.7"),
        ("db:fd00::7", "db:fd00::7"),
        ("db=[fd00::7]", "db:fd00::7"),
        ("up:host-gateway", "up:host-gateway"),
    ],
)
def test_a_line_for_hosts(text: str, expected: str) -> None:
    assert network_words.added_host(text) == expected


@pytest.mark.parametrize("text", ["db", ":1.2.3.4", "db:", "a b:1.2.3.4", "a\nb:1.2.3.4", "db:1.2.3"])
def test_what_is_no_line_for_hosts(text: str) -> None:
    with pytest.raises(InvalidValue):
        network_words.added_host(text)


@pytest.mark.parametrize(
    ("ports", "exposed", "expected"),
    [
        ((Port(80, "tcp", 8080),), (), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ((Port(80, "tcp", 8080, "127.0.0.1"),), ("80/tcp", "90/udp"), "127.0.0.1:8080->80/tcp, 90/udp"),
        ((Port(80, "tcp", 80, "1.2.3.4"), Port(81, "tcp", 81, "1.2.3.4")), (), "1.2.3.4:80-81->80-81/tcp"),
        ((Port(80, "tcp", 90, "1.2.3.4"), Port(81, "tcp", 99, "1.2.3.4")), (), "1.2.3.4:90->80/tcp, 1.2.3.4:99->81/tcp"),
        ((), ("1/tcp", "2/tcp", "4/tcp"), "1-2/tcp, 4/tcp"),
    ],
)
def test_ps_shows_ports_as_docker_does(ports: tuple[Port, ...], exposed: tuple[str, ...], expected: str) -> None:
    assert published.shown(ports, exposed) == expected


def test_bindings_are_as_they_were_wished() -> None:
    wished = (Port(80), Port(80, "tcp", 8000, "", 8010), Port(53, "udp", 53, "127.0.0.1"))
    assert bindings_of(wished) == {
        "80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "", "HostPort": "8000-8010"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
    }


def test_interfaces_are_numbered_past_those_that_have_a_name() -> None:
    config = ContainerConfig("x", networks=(NetworkWish("a"), NetworkWish("b", interface="eth0"), NetworkWish("c")))
    assert connections.interfaces(config) == ("eth1", "eth0", "eth2")


def test_a_subnet_has_what_is_in_it() -> None:
    found = network_options.subnets(["10.5.0.0/24", "fd00:5::/64"], ["fd00:5::1"], ["10.5.0.128/25"], ["a=10.5.0.9"])
    assert found == (Subnet("10.5.0.0/24", "", "10.5.0.128/25", {"a": "10.5.0.9"}), Subnet("fd00:5::/64", "fd00:5::1"))


@pytest.mark.parametrize(
    "words",
    [
        (["10.5.0.0/24", "10.6.0.0/24"], [], [], []),
        (["10.5.0.0/24"], ["10.6.0.1"], [], []),
        ([], ["10.6.0.1"], [], []),
        (["10.5.0.1/24"], [], [], []),
        (["10.5.0.0/24"], ["10.5.0.1", "10.5.0.2"], [], []),
        (["10.5.0.0/24"], [], [], ["10.5.0.3"]),
    ],
)
def test_subnets_that_cannot_be(words: tuple[list[str], ...]) -> None:
    with pytest.raises(InvalidValue):
        network_options.subnets(*words)


def test_options_of_bridges_are_dockers() -> None:
    base = Network("", "a", "", ())
    given = ["mtu=1400", "com.docker.network.bridge.name=br7", "com.docker.network.bridge.enable_icc=false"]
    found = network_options.with_options(base, given)
    assert (found.mtu, found.interface, found.icc) == (1400, "br7", False)
    for wrong in ("mtu=1", "com.docker.network.bridge.host_binding_ipv4=x"):
        with pytest.raises(InvalidValue):
            network_options.with_options(base, [wrong])
    with pytest.raises(Unsupported):
        network_options.with_options(base, ["parent=eth0"])


def test_hosts_has_a_line_for_each_address() -> None:
    names = hostfiles.Names("web", "example.org", "bridge", ("10.0.0.2", "fd00::2"), ("db:fd00::7",))
    lines = hostfiles.hosts(names).decode().splitlines()
    assert lines[-3:] == ["fd00::7\tdb", "10.0.0.2\tweb.example.org web", "fd00::2\tweb.example.org web"]


@pytest.mark.parametrize(
    ("host", "names", "expected"),
    [
        ("nameserver 127.0.0.53\nsearch lan\n", {}, "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch lan\n"),
        ("nameserver 127.0.0.1\nnameserver 10.0.0.53\n", {}, "nameserver 10.0.0.53\n"),
        ("nameserver ::1\n", {"substitute": ("10.0.2.3",)}, "nameserver 10.0.2.3\n"),
        ("", {}, "\n"),
        ("nameserver 10.0.0.53\noptions edns0\n", {"resolver": "127.0.0.11"}, "nameserver 127.0.0.11\noptions edns0 ndots:0\n"),
        ("nameserver 10.0.0.53\n", {"dns": ("9.9.9.9",), "search": (".",)}, "nameserver 9.9.9.9\n"),
        (
            "nameserver 10.0.0.53\n",
            {"resolver": "127.0.0.11", "options": ("ndots:2",)},
            "nameserver 127.0.0.11\noptions ndots:2\n",
        ),
    ],
)
def test_who_is_asked_for_names(host: str, names: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostfiles, "_read", lambda path: host.encode() if path == "/etc/resolv.conf" else b"")
    monkeypatch.setattr(hostfiles, "_BEHIND_STUB", "/nowhere")
    said = hostfiles.resolv_conf(hostfiles.Names("web", network="bridge", **names)).decode()  # type: ignore[arg-type]
    assert said.partition("\n")[2] == expected
