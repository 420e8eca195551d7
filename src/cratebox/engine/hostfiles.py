"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container: made in its directory, bound into it, as Docker does.

What resolves names depends on how it is connected: on networks with names it is crate's own resolver at 127.0.0.11, which asks
the machine's; on the default one the machine's own, save those that only the machine itself reaches.
"""

from __future__ import annotations

import os

from cratebox.linux.regular import open_leased
from cratebox.record import Record

_LIMIT = 1 << 20
_LOCAL = """127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
"""
NAMES = ("hosts", "hostname", "resolv.conf")
_OF_HOST = "/etc/resolv.conf"
_BEHIND_STUB = "/run/systemd/resolve/resolv.conf"  # systemd-resolved(8): the servers that 127.0.0.53 asks
_STUB = "127.0.0.53"
_PUBLIC = ("8.8.8.8", "8.8.4.4")  # where this machine has only resolvers of its own: as with Docker and Podman
_MARK = "# Made by crate. It is left alone once somebody has changed it.\n"


class Names(Record):
    """What the files are made of. `network` is "host", "none" or "bridge"; `addresses` are those that the host name stands for.

    `added`: NAME:ADDRESS for /etc/hosts. `dns`, `search`, `options`: in place of the machine's; `resolver`: the address of
    crate's own, or empty; `substitute`: servers in place of those that only the machine itself reaches.
    """

    hostname: str
    domainname: str = ""
    network: str = "host"
    addresses: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    resolver: str = ""
    substitute: tuple[str, ...] = _PUBLIC


def write(directory: str, names: Names) -> None:
    """Write the three files into `directory`. With the host's network its own files are what counts. Raises OSError."""
    full = full_name(names.hostname, names.domainname)
    _write(directory + "/hosts", hosts(names))
    _write(directory + "/hostname", (full + "\n").encode())
    _write(directory + "/resolv.conf", resolv_conf(names))


def full_name(hostname: str, domainname: str) -> str:
    """Return the name that a container has for itself: with --domainname that is part of it."""
    return f"{hostname}.{domainname}" if domainname else hostname


def hosts(names: Names) -> bytes:
    """Return /etc/hosts."""
    before = _read("/etc/hosts") if names.network == "host" else b""
    text = "" if before else _LOCAL
    if before and not before.endswith(b"\n"):
        text = "\n"
    for one in names.added:
        name, _, address = one.partition(":")
        text += f"{address}\t{name}\n"
    addresses = names.addresses
    if not addresses and not before and names.hostname:
        addresses = ("127.0.1.1",)
    return before + (text + "".join(entry(address, names.hostname, names.domainname) for address in addresses)).encode()


def entry(address: str, hostname: str, domainname: str) -> str:
    """Return the line of /etc/hosts for one address of a container."""
    full = full_name(hostname, domainname)
    words = dict.fromkeys((full, hostname, hostname.partition(".")[0]))
    return f"{address}\t{' '.join(words)}\n"


def resolv_conf(names: Names) -> bytes:
    """Return resolv.conf(5)."""
    said = names.dns or names.search or names.options
    if names.network != "bridge" and not said:
        return _read(_OF_HOST)
    servers, search, options = _host_resolvers()
    servers, options = names.dns or servers, names.options or options
    search = names.search or search
    if names.resolver:
        servers = (names.resolver,)
        if not any(one.startswith("ndots:") for one in options):
            options = (*options, "ndots:0")
    elif names.network == "bridge" and not names.dns:
        servers = tuple(one for one in servers if not _is_loopback(one)) or (names.substitute if servers else ())
    lines = [f"nameserver {one}" for one in servers]
    if search and search != (".",):
        lines.append("search " + " ".join(one for one in search if one != "."))
    if options:
        lines.append("options " + " ".join(options))
    return (_MARK + "\n".join(lines) + "\n").encode()


def _host_resolvers() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the name servers, the domains to search and the options of this machine."""
    found = _parsed(_read(_OF_HOST))
    if found[0] == (_STUB,) and os.path.exists(_BEHIND_STUB):
        return _parsed(_read(_BEHIND_STUB))
    return found


def _parsed(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in raw.decode(errors="replace").splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in {"search", "domain"} and rest:
            search = tuple(rest)  # the last one counts
        elif word == "options":
            options += rest
    return tuple(servers), search, tuple(options)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address.partition("%")[0] == "::1"


def change(directory: str, before: Names, after: Names) -> None:
    """Bring the files of a container that runs up to date with its networks. Raises OSError.

    In /etc/hosts the lines of its addresses come and go; resolv.conf is written anew only where it is as it was made. The files
    stay the same: they are bound into the container.
    """
    path = directory + "/hosts"
    lines = _read(path).decode(errors="surrogateescape").splitlines(keepends=True)
    gone = {entry(one, before.hostname, before.domainname) for one in before.addresses if one not in after.addresses}
    new = [entry(one, after.hostname, after.domainname) for one in after.addresses if one not in before.addresses]
    _write(path, "".join([line for line in lines if line not in gone] + new).encode(errors="surrogateescape"))
    path = directory + "/resolv.conf"
    wanted = resolv_conf(after)
    if _read(path) == resolv_conf(before) != wanted:
        _write(path, wanted)


def _read(path: str) -> bytes:
    try:
        with open(open_leased(path, os.O_RDONLY), "rb") as file:
            return file.read(_LIMIT)
    except BlockingIOError:
        raise  # it must not be written as if it had been empty
    except OSError:
        return b""


def _write(path: str, data: bytes) -> None:
    fd = open_leased(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(fd, 0o644)  # whoever the container's user is, he reads them
        os.write(fd, data)
    finally:
        os.close(fd)
