"""The words of -p, --expose, --network with options, --add-host, --dns and --mac-address, and what they must be together.

Pure; the rules are Docker's.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from cratebox.engine.config import (
    NETWORKS,
    OF_OTHERS,
    ContainerConfig,
    NetworkWish,
    Port,
    check_hostname,
    check_network,
    is_network_name,
    is_on_networks,
)
from cratebox.engine.words import number, shown
from cratebox.errors import InvalidValue, Unsupported
from cratebox.network import addresses
from cratebox.network.model import MOST_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOLS = ("tcp", "udp", "sctp")
GATEWAY = "host-gateway"  # of --add-host: whatever address this machine has for the container
INTERFACE_OPTION = "com.docker.network.endpoint.ifname"
_MOST = 65535
_MOST_OF_IMAGE = (
    1024  # ports that are published because an image says so: it is a stranger, and all could be of use to this machine
)
_MOST_IN_A_NAME = 15  # IFNAMSIZ without the NUL
_PORTS = "[ADDRESS:][PORT[-LAST]:]PORT[-LAST][/tcp|udp|sctp]"


def is_ipv4(text: str) -> bool:
    """Tell whether `text` is an IPv4 address."""
    return _family_of(text) == AF_INET


def is_ipv6(text: str) -> bool:
    """Tell whether `text` is an IPv6 address."""
    return _family_of(text) == AF_INET6


def _family_of(text: str) -> int:
    try:
        return addresses.parse(text)[0]
    except InvalidValue:
        return 0


def written(address: str) -> str:
    """Return an IPv4 or IPv6 address as inet_ntop(3) writes it. Raises InvalidValue."""
    return addresses.from_packed(addresses.packed(address))


# Ports


def ports(texts: Iterable[str]) -> tuple[Port, ...]:
    """Return what -p asks for, each once. Raises InvalidValue."""
    return tuple(dict.fromkeys(one for text in texts for one in _published(text)))


def _published(text: str) -> list[Port]:
    body, slash, protocol = text.partition("/")
    protocol = _protocol(protocol, text) if slash else "tcp"
    address, body = _split_address(body, text)
    host, colon, inside = body.rpartition(":")
    if ":" in host:
        raise InvalidValue(f"--publish: cannot read {shown(text)}", f"-p {_PORTS}; an IPv6 address stands in [ ]")
    first, last = _range(inside, text)
    if not colon or host in {"", "0"}:
        return [Port(port, protocol, 0, address) for port in range(first, last + 1)]
    host_first, host_last = _range(host, text)
    if last - first == host_last - host_first:
        return [Port(first + n, protocol, host_first + n, address) for n in range(last - first + 1)]
    if first != last:
        raise InvalidValue(f"--publish {shown(text)}: the two ranges are of different lengths")
    return [Port(first, protocol, host_first, address, host_last)]


def _split_address(body: str, text: str) -> tuple[str, str]:
    """Return the address, "" for all, and what follows it."""
    if body.startswith("["):
        address, bracket, rest = body[1:].partition("]")
        good = bool(bracket) and rest.startswith(":") and is_ipv6(address)
        rest = rest[1:]
    elif body.count(":") == 2:
        address, _, rest = body.partition(":")
        good = not address or is_ipv4(address)
    else:
        return "", body
    if not good:
        raise InvalidValue(f"--publish {shown(text)}: {shown(address)} is not an IP address", f"-p {_PORTS}")
    return written(address) if address else "", rest


def _protocol(text: str, whole: str) -> str:
    if text.lower() not in PROTOCOLS:
        raise InvalidValue(f"{shown(whole)}: no such protocol: {shown(text)}", f"one of {', '.join(PROTOCOLS)}")
    return text.lower()


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    found = _port(first, whole), _port(last, whole) if dash else 0
    if dash and found[1] < found[0]:
        raise InvalidValue(f"{shown(whole)}: the range {shown(text)} ends before it begins")
    return found if dash else (found[0], found[0])


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= _MOST):
        raise InvalidValue(f"not a port: {shown(text)}, of {shown(whole)}" if text != whole else f"not a port: {shown(text)}",
                           f"ports are numbers from 1 to {_MOST}: -p {_PORTS}")  # fmt: skip
    return int(text)


def exposed(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the ports of --expose PORT[-LAST][/PROTOCOL] as PORT/PROTOCOL, each once. Raises InvalidValue."""
    found = []
    for text in texts:
        body, slash, protocol = text.partition("/")
        first, last = _range(body, text)
        found += [f"{port}/{_protocol(protocol, text) if slash else 'tcp'}" for port in range(first, last + 1)]
    return tuple(dict.fromkeys(found))


def of_image(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the ports that an image exposes; what is none is left out, for an image may say anything."""
    found: list[str] = []
    for text in texts:
        try:
            found += exposed([text])
        except InvalidValue:
            continue
    return tuple(dict.fromkeys(found))


def wanted(config: ContainerConfig, of_its_image: Iterable[str]) -> tuple[Port, ...]:
    """Return the ports that are to be published: with --publish-all also those that are exposed, at any free port.

    Raises InvalidValue where an image exposes more than anybody would.
    """
    if not config.publish_all:
        return config.ports
    given = {f"{one.container}/{one.protocol}" for one in config.ports}
    asked = of_image(of_its_image)
    if len(asked) > _MOST_OF_IMAGE:
        raise InvalidValue(
            f"--publish-all: the image exposes {len(asked)} ports, which this machine needs itself",
            "-p PORT, of those you want",
        )
    more = [text.partition("/") for text in dict.fromkeys((*asked, *config.expose)) if text not in given]
    return (*config.ports, *(Port(int(port), protocol) for port, _, protocol in more))


# Networks


def networks(texts: Iterable[str]) -> tuple[str, tuple[NetworkWish, ...]]:
    """Return what --network says, once or several times: how the container is connected, and to which networks.

    Raises InvalidValue, Unsupported.
    """
    wishes: list[NetworkWish] = []
    modes = []
    for text in texts:
        wish = _network(text)
        modes.append(wish.name)
        wishes.append(wish)
    alone = [mode for mode in modes if mode in {"host", "none"} or ":" in mode]
    if alone and len(modes) > 1:
        raise InvalidValue(f"--network {shown(alone[0])} cannot be had together with another network")
    if alone:
        if wishes[0] != NetworkWish(alone[0]):
            raise InvalidValue(f"--network {shown(alone[0])} has no options")
        return alone[0], ()
    names = [wish.name for wish in wishes]
    for name in names:
        if names.count(name) > 1:
            raise InvalidValue(f"--network {shown(name)} is there twice")
    return modes[0], tuple(wishes)


def _network(text: str) -> NetworkWish:
    """Read NAME, or name=NAME,alias=...,ip=...,ip6=...,mac-address=...,gw-priority=...,driver-opt=KEY=VALUE."""
    if "=" not in text and "," not in text:
        return NetworkWish(_mode(text))
    wish = NetworkWish("")
    for part in text.split(","):
        key, equals, value = part.partition("=")
        value = value.strip('"')
        if not equals and not wish.name and not wish.aliases:
            key, value = "name", part
        wish = _with_option(wish, key.strip().strip('"').lower(), value, text)
    if not wish.name:
        raise InvalidValue(f"--network {shown(text)} names no network", "name=NETWORK,alias=NAME,ip=ADDRESS")
    return wish


def _mode(text: str) -> str:
    return "bridge" if text == "default" else check_network(text)


def _with_option(wish: NetworkWish, key: str, value: str, text: str) -> NetworkWish:
    if key == "name":
        return wish.replace(name=_mode(value))
    if key == "alias":
        return wish.replace(aliases=(*wish.aliases, alias(value)))
    if key in {"ip", "ip6"}:
        return wish.replace(**{key: address(value, key)})
    if key in {"mac-address", "mac"}:
        return wish.replace(mac=mac(value))
    if key in {"interface-name", "interface_name"}:
        return wish.replace(interface=interface(value))
    if key == "gw-priority":
        return wish.replace(priority=priority(value))
    if key == "driver-opt":
        return driver_option(wish, value)
    if key == "link-local-ip":
        raise Unsupported("--network link-local-ip is not there", "leave it out: an interface finds such an address by itself")
    known = "name, alias, ip, ip6, mac-address, interface-name, gw-priority, driver-opt"
    raise InvalidValue(f"--network {shown(text)}: no such option: {shown(key)}", f"there are {known}")


def driver_option(wish: NetworkWish, text: str) -> NetworkWish:
    """Return the wish with KEY=VALUE of the driver's. Raises Unsupported for a key that there is not."""
    key, _, value = text.partition("=")
    if key != INTERFACE_OPTION:
        raise Unsupported(f"no such option of a driver: {shown(key)}", f"there is {INTERFACE_OPTION}")
    return wish.replace(interface=interface(value))


def priority(text: str) -> int:
    """Return --gw-priority. Raises InvalidValue."""
    return number(text, "gw-priority", -(2**31))


def alias(text: str) -> str:
    """Return a name that a container has on a network. Raises InvalidValue."""
    return check_hostname(text)


def address(text: str, kind: str) -> str:
    """Return the address of --ip or --ip6. Raises InvalidValue."""
    if not (is_ipv6 if kind == "ip6" else is_ipv4)(text):
        raise InvalidValue(f"--{kind}: not an {'IPv6' if kind == 'ip6' else 'IPv4'} address: {shown(text)}")
    return written(text)


def mac(text: str) -> str:
    """Return a hardware address in its usual form. Raises InvalidValue."""
    return addresses.parse_mac(text).hex(":")


def interface(text: str) -> str:
    """Return a name that an interface can have (the kernel's dev_valid_name). Raises InvalidValue."""
    bad = not text or len(text) > _MOST_IN_A_NAME or text in {".", "..", "lo"} or not text.isascii() or not text.isprintable()
    if bad or any(char in text for char in "/: %"):
        raise InvalidValue(f"not a name for an interface: {shown(text)}", f"at most {_MOST_IN_A_NAME} letters and digits")
    return text


# Names


def added_host(text: str) -> str:
    """Return NAME:ADDRESS of --add-host NAME:ADDRESS or NAME=ADDRESS; the address may be in [ ]. Raises InvalidValue."""
    at = min((place for place in (text.find("="), text.find(":")) if place > 0), default=-1)
    name, value = text[:at], text[at + 1 :]
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    if at < 0 or not name.isprintable() or " " in name or "," in name or len(name) > 255:
        raise InvalidValue(f"--add-host: not a name and an address: {shown(text)}", "NAME:ADDRESS, as db:10.0.0.7")
    if value != GATEWAY and not (is_ipv4(value) or is_ipv6(value)):
        raise InvalidValue(f"--add-host {shown(text)}: {shown(value)} is not an IP address", f"an address, or {GATEWAY}")
    return f"{name}:{value if value == GATEWAY else written(value)}"


def nameserver(text: str) -> str:
    """Return the address of --dns. Raises InvalidValue."""
    if not (is_ipv4(text) or is_ipv6(text)):
        raise InvalidValue(f"--dns: not an IP address: {shown(text)}", "the address of a name server, as 10.0.0.53")
    return written(text)


def search_domain(text: str) -> str:
    """Return a domain of --dns-search, "." for none at all. Raises InvalidValue."""
    labels = text.removesuffix(".").split(".")
    if text != "." and (
        len(text) > 255
        or not all(0 < len(one) < 64 and one.isascii() and one.replace("-", "a").replace("_", "a").isalnum() for one in labels)
    ):
        raise InvalidValue(f"--dns-search: not a domain: {shown(text)}", 'as example.com; "." for none')
    return text


def resolver_option(text: str) -> str:
    """Return an option of resolv.conf(5). Raises InvalidValue."""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidValue(f"--dns-option: not an option of resolv.conf: {shown(text)}", "as ndots:2 or rotate")
    return text


def domain_name(text: str) -> str:
    """Return --domainname. Raises InvalidValue."""
    labels = text.split(".")
    if len(text) > 64 or not all(0 < len(one) < 64 and one.isascii() and one.replace("-", "a").isalnum() for one in labels):
        raise InvalidValue(f"--domainname: not a domain: {shown(text)}", "as example.com, at most 64 characters")
    return text


# All together


def check(config: ContainerConfig) -> None:
    """Raise InvalidValue for words that contradict each other."""
    if is_on_networks(config):
        _check_networks(config)
        return
    mode = config.network
    if config.networks:
        raise InvalidValue(f"--network {shown(mode)}: no address, alias or hardware address can be had on it")
    if mode == "host":
        return  # ports of its are this machine's: said as a warning, as Docker does
    if config.ports or config.publish_all:
        raise InvalidValue(f"--publish: with --network {shown(mode)} there is nothing to publish ports of",
                           "publish them for the container whose network it is" if ":" in mode else "leave one of them out")  # fmt: skip
    if ":" not in mode:
        return
    for given, flag in (
        (config.hostname, "--hostname"), (config.domainname, "--domainname"), (config.dns, "--dns"), (config.dns_search, "--dns-search"),
        (config.dns_options, "--dns-option"), (config.add_host, "--add-host"), (config.expose, "--expose"),
    ):  # fmt: skip
        if given:
            raise InvalidValue(f"{flag}: with --network {shown(mode)} the names are those of the other container")


def _check_networks(config: ContainerConfig) -> None:
    for wish in config.networks:
        if wish.name in {"host", "none"} or ":" in wish.name:
            raise InvalidValue(f"--network {shown(wish.name)} cannot be had together with another network")
        if wish.aliases and wish.name == "bridge":
            raise InvalidValue(
                "--network-alias: on the network bridge there are no names", "crate network create NAME, and --network NAME"
            )
    taken = [wish.interface for wish in config.networks if wish.interface]
    for name in taken:
        if taken.count(name) > 1:
            raise InvalidValue(f"two interfaces are to be called {shown(name)}")
    _check_ports(config.ports)


def _check_ports(wished: tuple[Port, ...]) -> None:
    """A port of this machine can be one port of the container's alone."""
    if len(wished) > MOST_PORTS:
        raise InvalidValue(f"--publish: {len(wished)} ports are more than {MOST_PORTS}", "publish fewer, or use --network host")
    seen: dict[tuple[str, int], list[Port]] = {}
    for one in wished:
        if not one.host or one.host_last:
            continue
        others = seen.setdefault((one.protocol, one.host), [])
        for other in others:
            if one.host_ip == other.host_ip or not one.host_ip or not other.host_ip:
                raise InvalidValue(
                    f"--publish: port {one.host}/{one.protocol} of this machine is wanted for {other.container} and {one.container}"
                )
        others.append(one)


def network_name(text: str) -> str:
    """Return a name for a network. Raises InvalidValue."""
    if text in NETWORKS or text in OF_OTHERS or text in {"default", "container"}:
        raise InvalidValue(f"a network cannot be called {shown(text)}: the word means something else", "choose another name")
    if not is_network_name(text):
        raise InvalidValue(
            f"not a name for a network: {shown(text)}", "1 to 128 letters, digits, _, . and -; the first is a letter or a digit"
        )
    return text
