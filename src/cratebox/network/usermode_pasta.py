"""pasta(1) as the way outside: what is started ends when all is ready,
and leaves a child behind that has written down its own pid.
"""

from __future__ import annotations

import os
import select

from cratebox.linux import process
from cratebox.linux.procfs import read_text
from cratebox.network.usermode_program import (
    ADDRESS,
    DNS,
    GATEWAY,
    INTERFACE,
    PREFIX,
    SECONDS_TO_BEGIN,
    Way,
    directory,
    failure,
    spawn,
    streams,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.network.model import Port

_MAC = "02:63:72:61:74:65"  # else pasta learns it of the first packet, and until then what comes from outside does not arrive
_ADDRESS6, _GATEWAY6 = "fd63:7261:7465::100", "fd63:7261:7465::2"
_SIGKILL = 9


def begin(path: str, way: Way, target: tuple[int, int]) -> Way:
    """Start it for the namespaces `target`, of user and network, opened. Raises OSError."""
    user, net = (f"/proc/self/fd/{fd}" for fd in target)
    argv = [path, *_words(way.ports, way.ipv6), "-P", f"{directory(way.place)}/{way.owner}.pid"]
    argv += ["--userns", user, "--netns", net, "--no-netns-quit"]
    return way.replace(pid=spawn(path, argv, streams(way.said, *target)))


def await_ready(way: Way) -> None:
    """Wait until it is the way outside. Raises CrateError with what it said."""
    if _status(way):  # what stays is its child
        raise failure(way)


def _status(way: Way) -> int:
    """Wait for the end of a child and return its wait status."""
    pidfd = os.pidfd_open(way.pid)
    try:
        if not select.select([pidfd], [], [], SECONDS_TO_BEGIN)[0]:
            process.send_signal(pidfd, _SIGKILL)
    finally:
        os.close(pidfd)
    return os.waitpid(way.pid, 0)[1]


def _words(ports: tuple[Port, ...], ipv6: bool) -> list[str]:
    ipv6 = (ipv6 or any(":" in one.host_ip for one in ports)) and has_ipv6()
    words = ["-q", "--config-net", "-I", INTERFACE, "-a", ADDRESS, "-n", PREFIX, "-g", GATEWAY, "--ns-mac-addr", _MAC]
    words += ["-a", _ADDRESS6, "-g", _GATEWAY6] if ipv6 else ["-4"]
    words += ["--dns-forward", DNS, "--no-map-gw", "-T", "none", "-U", "none"]
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        given = [_port(one) for one in ports if one.protocol == protocol]
        for one in given or ["none"]:
            words += [flag, one]
    return words


def has_ipv6() -> bool:
    """Tell whether the machine has a way outside with IPv6: a default route that is not one of lo's (proc(5), net/ipv6_route)."""
    try:
        routes = [line.split() for line in read_text("/proc/net/ipv6_route").splitlines()]
    except OSError:
        return False
    return any(one[0] == "0" * 32 and one[1] == "00" and one[9] != "lo" for one in routes)


def _port(port: Port) -> str:
    return (f"{port.host_ip}/" if port.host_ip else "") + f"{port.host}:{port.container}"
