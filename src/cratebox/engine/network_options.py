"""The words of `network create`: subnets with what belongs to them, and the options of bridges.
What they must be is network/'s to say.
"""

from __future__ import annotations

from cratebox.engine.network_words import interface, is_ipv4, is_ipv6, written
from cratebox.engine.words import boolean, number, shown
from cratebox.errors import InvalidValue, Unsupported
from cratebox.network.addresses import parse, parse_range
from cratebox.network.model import Network, Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_BRIDGE = "com.docker.network.bridge."
_MTU = ("mtu", "com.docker.network.driver.mtu")
KNOWN = (*_MTU, _BRIDGE + "name", _BRIDGE + "enable_icc", _BRIDGE + "enable_ip_masquerade", _BRIDGE + "host_binding_ipv4")
_LEAST_MTU, _MOST_MTU = 68, 65535  # IPv4's least


def subnets(
    ranges: Sequence[str], gateways: Sequence[str], parts: Sequence[str], reserved: Sequence[str]
) -> tuple[Subnet, ...]:
    """Return the subnets; each gateway, part and address belongs to that which has it. Raises InvalidValue."""
    found = [Subnet(_range(text, "--subnet")) for text in ranges]
    for kind, is_kind in (("IPv4", lambda one: "." in one.subnet), ("IPv6", lambda one: ":" in one.subnet)):
        if sum(map(is_kind, found)) > 1:
            raise InvalidValue(f"--subnet: there can be one of {kind}", "make two networks: a container can be on both")
    for text in gateways:
        at = _of(found, _address(text, "--gateway"), "--gateway")
        if found[at].gateway:
            raise InvalidValue(f"--gateway: {found[at].subnet} can have one")
        found[at] = found[at].replace(gateway=written(text))
    for text in parts:
        part = _range(text, "--ip-range")
        at = _of(found, part.partition("/")[0], "--ip-range")
        if found[at].ip_range:
            raise InvalidValue(f"--ip-range: {found[at].subnet} can have one")
        found[at] = found[at].replace(ip_range=part)
    for text in reserved:
        name, equals, address = text.partition("=")
        if not equals or not name:
            raise InvalidValue(f"--aux-address is NAME=ADDRESS, not {shown(text)}")
        at = _of(found, _address(address, "--aux-address"), "--aux-address")
        found[at] = found[at].replace(reserved={**found[at].reserved, name: written(address)})
    return tuple(found)


def _range(text: str, flag: str) -> str:
    try:
        parse_range(text)
    except InvalidValue as error:
        raise InvalidValue(f"{flag}: {error.message}", error.hint) from None
    return text


def _address(text: str, flag: str) -> str:
    if not (is_ipv4(text) or is_ipv6(text)):
        raise InvalidValue(f"{flag}: not an IP address: {shown(text)}")
    return text


def _of(found: Sequence[Subnet], address: str, flag: str) -> int:
    """Return the place of the subnet that an address is in."""
    if not found:
        raise InvalidValue(f"{flag} {address}: of which subnet?", "say --subnet as well")
    family, value = parse(address)
    for at, one in enumerate(found):
        whole = parse_range(one.subnet)
        if whole.family == family and value in whole:
            return at
    raise InvalidValue(f"{flag} {address} is in none of the subnets: {', '.join(one.subnet for one in found)}")


def with_options(network: Network, texts: Sequence[str]) -> Network:
    """Return the network as --opt says. Raises InvalidValue, Unsupported for options that there are not."""
    options = {}
    for text in texts:
        key, _, value = text.partition("=")
        options[key] = value
        if key in _MTU:
            mtu = number(value, f"--opt {key}", _LEAST_MTU)
            if mtu > _MOST_MTU:
                raise InvalidValue(f"--opt {key} is at most {_MOST_MTU}, not {mtu}")
            network = network.replace(mtu=mtu)
        elif key == _BRIDGE + "name":
            network = network.replace(interface=interface(value))
        elif key == _BRIDGE + "enable_icc":
            network = network.replace(icc=boolean(value, f"--opt {key}"))
        elif key == _BRIDGE + "enable_ip_masquerade":
            network = network.replace(masquerade=boolean(value, f"--opt {key}"))
        elif key == _BRIDGE + "host_binding_ipv4":
            if not is_ipv4(value):
                raise InvalidValue(f"--opt {key}: not an IPv4 address: {shown(value)}")
            network = network.replace(host_binding="" if value == "0.0.0.0" else value)  # noqa: S104  a word for all
        else:
            raise Unsupported(f"--opt {shown(key)}: there is no such option", f"there are {', '.join(KNOWN)}")
    return network.replace(options=options)
