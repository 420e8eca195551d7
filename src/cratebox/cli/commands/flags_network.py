"""The flags that say more of a container's networks than which one it is on: addresses, names, resolvers, exposed ports."""

from __future__ import annotations

from cratebox.cli.commands.create import NETWORK
from cratebox.cli.options import Flag, Words
from cratebox.engine import network_words
from cratebox.engine.config import ContainerConfig, NetworkWish
from cratebox.errors import InvalidValue

FLAGS = (
    Flag("publish-all", "P", help="publish all ports that the image or --expose names, each at a free one", group=NETWORK),
    Flag("expose", metavar="PORT[-LAST][/udp]", help="say that the container listens there", repeat=True, group=NETWORK),
    Flag("network-alias", metavar="NAME", help="another name of it on its network", repeat=True, alias="net-alias", group=NETWORK),
    Flag("ip", metavar="ADDRESS", help="its IPv4 address on its network", group=NETWORK),
    Flag("ip6", metavar="ADDRESS", help="its IPv6 address on its network", group=NETWORK),
    Flag("mac-address", metavar="ADDRESS", help="the hardware address of its interface, as 02:42:ac:11:00:02", group=NETWORK),
    Flag("add-host", metavar="NAME:ADDRESS", help="a line for its /etc/hosts; the address host-gateway is this machine's", repeat=True,
         group=NETWORK),
    Flag("dns", metavar="ADDRESS", help="a name server in place of this machine's", repeat=True, group=NETWORK),
    Flag("dns-search", metavar="DOMAIN", help='a domain to look for names in; "." for none', repeat=True, group=NETWORK),
    Flag("dns-option", metavar="OPTION", help="an option of resolv.conf, as ndots:2", repeat=True, alias="dns-opt", group=NETWORK),
    Flag("domainname", metavar="DOMAIN", help="the domain of the name that it has for itself", group=NETWORK),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what the flags say. Raises InvalidValue."""
    config = config.replace(
        publish_all=words.yes("publish-all"),
        expose=network_words.exposed(words.all("expose")),
        add_host=tuple(map(network_words.added_host, words.all("add-host"))),
        dns=tuple(map(network_words.nameserver, words.all("dns"))),
        dns_search=tuple(map(network_words.search_domain, words.all("dns-search"))),
        dns_options=tuple(map(network_words.resolver_option, words.all("dns-option"))),
        domainname=network_words.domain_name(text) if (text := words.text("domainname")) else "",
    )
    given = _of_endpoint(words)
    if not given:
        return config
    if len(config.networks) > 1:
        raise InvalidValue(
            f"--{next(iter(given))}: which of the networks is meant?", "--network name=NAME,alias=...,ip=...,mac-address=..."
        )
    first = config.networks[0] if config.networks else NetworkWish(config.network)
    for flag, (field, value) in given.items():
        if getattr(first, field):
            raise InvalidValue(f"--{flag} is said by --network as well", "say it once")
        first = first.replace(**{field: value})
    return config.replace(networks=(first,))


def _of_endpoint(words: Words) -> dict[str, tuple[str, object]]:
    """Return what was said of the container on its one network: the field of NetworkWish by the flag."""
    found: dict[str, tuple[str, object]] = {}
    if aliases := words.all("network-alias"):
        found["network-alias"] = ("aliases", tuple(map(network_words.alias, aliases)))
    for flag in ("ip", "ip6"):
        if text := words.text(flag):
            found[flag] = (flag, network_words.address(text, flag))
    if text := words.text("mac-address"):
        found["mac-address"] = ("mac", network_words.mac(text))
    return found
