"""The way outside for the containers of an ordinary user: pasta(1), or where that is missing slirp4netns(1).

Both make an interface in the container's network namespace and pass on what comes from it by sockets of their own, as the user, and
listen on the ports that are published. One for each container that wants the outside, beside its interfaces on bridges; it is told
its addresses here, so that containers look alike whichever of the two it is:

    tap0 10.0.2.100/24, default route by 10.0.2.2, and at 10.0.2.3 the machine's first resolver (UDP)

The machine's loopback addresses are closed to containers, as with Docker; its others lead to it. What has to be found when it is
to end lies in `state`/networks/outside: OWNER.pid. A process is known by the owner among its arguments.
"""

from __future__ import annotations

import os
import select

from cratebox.errors import Conflict, CrateError, RuntimeFailure, Unsupported
from cratebox.linux import namespaces, process
from cratebox.linux.procfs import read_text
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from cratebox.network.model import Place, Port

SUBNET, DNS = "10.0.2.0/24", "10.0.2.3"
INTERFACE = "tap0"
_ADDRESS, _GATEWAY, _PREFIX = "10.0.2.100", "10.0.2.2", "24"
_MAC = "02:63:72:61:74:65"  # else pasta learns it of the first packet, and until then what comes from outside does not arrive
_ADDRESS6, _GATEWAY6 = "fd63:7261:7465::100", "fd63:7261:7465::2"
_TUN = "/dev/net/tun"
_PATH = "/usr/local/bin:/usr/bin:/bin"
_INSTALL = (
    "install pasta (Debian and Ubuntu: apt-get install passt, Fedora: dnf install passt), or do without: --network host, none"
)
_SIGKILL, _SECONDS_TO_BEGIN, _SECONDS_TO_END = 9, 30.0, 2.0
_SIGNALS = (1, 2, 3, 13, 15, 17)  # SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD


class Way(Record):
    """A program on its way to be the way outside; `pid` is that of who tells whether it is (a child), `said` what it says of errors."""

    place: Place
    kind: str  # pasta or slirp4netns
    owner: str
    pid: int
    said: int
    ready: int = -1
    ports: tuple[Port, ...] = ()
    ipv6: bool = False


# Before anything is made


def check(ports: tuple[Port, ...]) -> None:
    """Find what keeps a container of this user from the outside, or from publishing `ports`. Raises Unsupported."""
    kind, _path = _program()
    _check_tun(kind)
    for port in ports:
        what = f"cannot publish port {port.host or port.container}/{port.protocol} without root"
        if port.protocol not in {"tcp", "udp"}:
            raise Unsupported(f"{what}: {kind} passes on tcp and udp alone")
        if kind == "slirp4netns" and ":" in port.host_ip:
            raise Unsupported(
                f"{what} on {port.host_ip}: slirp4netns does IPv4 alone", "install pasta, which does IPv6 as well"
            )
        if kind == "pasta" and ":" in port.host_ip and not _has_ipv6():
            raise Unsupported(
                f"{what} on {port.host_ip}: pasta does it only where the machine has an IPv6 route to the outside"
            )
        if 0 < port.host < _first_free_port():
            raise Unsupported(
                f"{what}: ports below {_first_free_port()} are root's on this machine",
                f"choose one above, or as root: sysctl -w net.ipv4.ip_unprivileged_port_start={port.host}",
            )


def listened(ports: tuple[Port, ...], ipv6: bool) -> tuple[Port, ...]:
    """Return `ports` with the addresses that they are listened on where none is given: IPv4's alone, unless the container has IPv6
    (`ipv6`) and pasta passes it on.
    """
    if ipv6 and _has_ipv6() and _program()[0] == "pasta":
        return ports
    return tuple(one if one.host_ip else one.replace(host_ip="0.0.0.0") for one in ports)  # noqa: S104  what was wished


def host_address() -> str:
    """Return the machine's own address on its way out, by which containers reach it; "" where it has none."""
    import _socket

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(("192.0.2.1", 9))  # documentation's (RFC 5737): nothing is sent
        return str(sock.getsockname()[0])
    except OSError:
        return ""
    finally:
        sock.close()


def _program() -> tuple[str, str]:
    """Return which program is the way outside, and its path. pasta may refuse to work on a machine that has none itself."""
    found = {name: path for name in ("pasta", "slirp4netns") if (path := _path_of(name))}
    if not found:
        raise Unsupported("there is no way outside for containers: neither pasta nor slirp4netns is installed", _INSTALL)
    if len(found) == 2 and not _has_route():
        del found["pasta"]
    return next(iter(found.items()))


def _path_of(name: str) -> str:
    for directory in os.environ.get("PATH", _PATH).split(":"):
        if directory.startswith("/") and os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""


def _has_route() -> bool:
    """Tell whether the machine has a default route for IPv4 (proc(5), net/route: interface, destination, ..., mask)."""
    try:
        routes = [line.split() for line in read_text("/proc/net/route").splitlines()[1:]]
    except OSError:
        return True  # it will be seen
    return any(one[1] == one[7] == "00000000" for one in routes)


def _check_tun(kind: str) -> None:
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise Unsupported(f"{kind} needs {_TUN}, which is not there", "as root: modprobe tun") from None
    except OSError as error:
        raise Unsupported(
            f"{kind} needs {_TUN}, which is closed to you: {error.strerror}",
            f"as root: chmod 0666 {_TUN} (udev does it on most machines); or do without: --network host, none",
        ) from None


def _first_free_port() -> int:
    try:
        return int(read_text("/proc/sys/net/ipv4/ip_unprivileged_port_start"))
    except (OSError, ValueError):
        return 1024


# Its life


def begin(
    place: Place,
    owner: str,
    ports: tuple[Port, ...],
    pid: int,
    *,
    ipv6: bool = False,
    namespaces: tuple[int, int] | None = None,
) -> Way:
    """Start the way outside of the namespace of process `pid`, which is the caller's to hold. `await_ready` waits for it.

    `ipv6`: whether the container is on a network with IPv6, and so has some of the outside as well, where the machine has.
    `namespaces`: of user and network, opened, where the process does not let itself be looked into yet. One that `owner` has from
    before is ended. Raises Unsupported, RuntimeFailure.
    """
    kind, path = _program()
    end(place, owner)
    try:
        os.makedirs(_directory(place), 0o700, exist_ok=True)
        target = namespaces or _namespaces(pid)
        try:
            way = Way(place, kind, owner, 0, os.memfd_create("said", os.MFD_CLOEXEC), ports=ports, ipv6=ipv6)
            return _begin_pasta(path, way, target) if kind == "pasta" else _begin_slirp(path, way, target)
        finally:
            if not namespaces:
                for fd in target:
                    os.close(fd)
    except OSError as error:
        raise RuntimeFailure(f"cannot start {path}: {error.strerror}") from None


def _namespaces(pid: int) -> tuple[int, int]:
    user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return user, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        os.close(user)
        raise


def await_ready(way: Way) -> None:
    """Wait until the way outside is open. Raises RuntimeFailure with what the program said; nothing of it is left then."""
    try:
        if way.kind == "pasta":
            if _ended(way):  # what stays is its child
                raise _failure(way)
        else:
            _await_slirp(way)
    except BaseException:
        end(way.place, way.owner)
        raise
    finally:
        os.close(way.said)


def _ended(way: Way) -> int:
    """Wait for the end of a child and return its wait status."""
    pidfd = os.pidfd_open(way.pid)
    try:
        if not select.select([pidfd], [], [], _SECONDS_TO_BEGIN)[0]:
            process.send_signal(pidfd, _SIGKILL)
    finally:
        os.close(pidfd)
    return os.waitpid(way.pid, 0)[1]


def give_up(way: Way) -> None:
    """End one that was begun and is not waited for."""
    try:
        await_ready(way)
    except CrateError:
        return
    end(way.place, way.owner)


def end(place: Place, owner: str) -> None:
    """End the way outside of `owner`, and the ports that it listens on. Where there is none, nothing happens."""
    path = f"{_directory(place)}/{owner}"
    try:
        _kill(int(read_text(path + ".pid")), owner)
    except (OSError, ValueError):
        pass  # there is none, or it has ended
    for suffix in (".pid", ".api"):
        try:
            os.unlink(path + suffix)
        except OSError:
            pass


def owners(place: Place) -> list[str]:
    """Return who has a way outside: those that have no lease (any more) are to be ended."""
    try:
        return [name.removesuffix(".pid") for name in os.listdir(_directory(place)) if name.endswith(".pid")]
    except OSError:
        return []


def _kill(pid: int, owner: str) -> None:
    """End `pid` where it still is the owner's, and wait until its ports are free."""
    pidfd = os.pidfd_open(pid)
    try:
        if f"/{owner}." in read_text(f"/proc/{pid}/cmdline"):
            process.send_signal(pidfd, _SIGKILL)
            select.select([pidfd], [], [], _SECONDS_TO_END)
    finally:
        os.close(pidfd)


def _directory(place: Place) -> str:
    return place.state + "/networks/outside"


def _spawn(path: str, argv: list[str], actions: list[Any]) -> int:
    """Start it with the signals as a login has them: pasta fails where SIGPIPE is ignored, as an interpreter does."""
    return os.posix_spawn(path, argv, {}, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_SIGNALS)


def _streams(said: int, *inherited: int) -> list[Any]:
    """Return what its descriptors are: nothing, nothing, `said`, and those of `inherited`, which are closed in all others."""
    return [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, said, 2),
        *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited),
    ]


def _failure(way: Way) -> CrateError:
    lines = os.pread(way.said, 4096, 0).decode(errors="replace").split("\n")
    words = [one.strip() for one in lines if one.strip() and "syslog" not in one]
    said = words[-1] if words else "it does not say why"
    if "bind" in said.lower():
        return Conflict(f"a port cannot be published: {way.kind} cannot listen on it: {said}", "see ss -lntup")
    hint = None
    if "interface" in said.lower() and not _has_route():
        hint = "this machine has no default route: slirp4netns does without, an internal network or --network none as well"
    return RuntimeFailure(f"{way.kind}, the way outside of the container, has failed: {said}", hint)


# pasta


def _begin_pasta(path: str, way: Way, target: tuple[int, int]) -> Way:
    user, net = (f"/proc/self/fd/{fd}" for fd in target)
    argv = [path, *_pasta_words(way.ports, way.ipv6), "-P", f"{_directory(way.place)}/{way.owner}.pid"]
    argv += ["--userns", user, "--netns", net, "--no-netns-quit"]
    return way.replace(pid=_spawn(path, argv, _streams(way.said, *target)))


def _pasta_words(ports: tuple[Port, ...], ipv6: bool) -> list[str]:
    ipv6 = (ipv6 or any(":" in one.host_ip for one in ports)) and _has_ipv6()
    words = ["-q", "--config-net", "-I", INTERFACE, "-a", _ADDRESS, "-n", _PREFIX, "-g", _GATEWAY, "--ns-mac-addr", _MAC]
    words += ["-a", _ADDRESS6, "-g", _GATEWAY6] if ipv6 else ["-4"]
    words += ["--dns-forward", DNS, "--no-map-gw", "-T", "none", "-U", "none"]
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        given = [_pasta_port(one) for one in ports if one.protocol == protocol]
        for one in given or ["none"]:
            words += [flag, one]
    return words


def _has_ipv6() -> bool:
    """Tell whether the machine has a way outside with IPv6: a default route that is not one of lo's (proc(5), net/ipv6_route)."""
    try:
        routes = [line.split() for line in read_text("/proc/net/ipv6_route").splitlines()]
    except OSError:
        return False
    return any(one[0] == "0" * 32 and one[1] == "00" and one[9] != "lo" for one in routes)


def _pasta_port(port: Port) -> str:
    return (f"{port.host_ip}/" if port.host_ip else "") + f"{port.host}:{port.container}"


# slirp4netns


def _begin_slirp(path: str, way: Way, target: tuple[int, int]) -> Way:
    """Start it as nobody's child: what pasta does by itself."""
    reading, ready = os.pipe()
    told, telling = os.pipe()
    try:
        between, between_pidfd = namespaces.clone(0)
        if between == 0:
            _spawn_slirp(path, way, target, ready, telling)
        os.close(between_pidfd)
    finally:
        os.close(ready)
        os.close(telling)
    with open(told, "rb") as file:
        answer = file.read()
    os.waitpid(between, 0)
    if not answer.isdigit():
        os.close(reading)
        raise OSError(0, answer.decode() or "no process could be made")
    with open(f"{_directory(way.place)}/{way.owner}.pid", "w", encoding="ascii") as file:
        file.write(answer.decode())
    return way.replace(ready=reading)


def _spawn_slirp(path: str, way: Way, target: tuple[int, int], ready: int, telling: int) -> NoReturn:
    try:
        there = os.open(_directory(way.place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        user, net = target
        # Without --enable-sandbox, which fails with a user namespace's path.
        words = ["-c", "-r", str(ready), "-m", "65520", "--disable-host-loopback", "--enable-seccomp"]
        words += ["-6"] if way.ipv6 else []
        # The path of a socket is short (unix(7)): it is one below a descriptor.
        words += [f"--api-socket=/proc/self/fd/{there}/{way.owner}.api"]
        words += ["--netns-type=path", f"--userns-path=/proc/self/fd/{user}"]
        argv = [path, *words, f"/proc/self/fd/{net}", INTERFACE]
        os.write(telling, str(_spawn(path, argv, _streams(way.said, there, ready, *target))).encode())
    except OSError as error:
        os.write(telling, str(error.strerror).encode())
    finally:
        os._exit(0)


def _await_slirp(way: Way) -> None:
    with open(way.ready, "rb", buffering=0) as file:
        if not select.select([file], [], [], _SECONDS_TO_BEGIN)[0] or file.read(1) != b"1":
            raise _failure(way)
    there = os.open(_directory(way.place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for port in way.ports:
            said = _ask_slirp(f"/proc/self/fd/{there}/{way.owner}.api", _forwarding(port))
            if '"return"' not in said:
                raise Conflict(
                    f"cannot publish port {port.host}/{port.protocol}: slirp4netns cannot listen on it: {said.strip()}"
                )
    finally:
        os.close(there)


def _forwarding(port: Port) -> str:
    """Return a request of slirp4netns(1), API SOCKET."""
    host = port.host_ip or "0.0.0.0"  # noqa: S104  as Docker does where no address is given
    return (
        f'{{"execute": "add_hostfwd", "arguments": {{"proto": "{port.protocol}", "host_addr": "{host}", '
        f'"host_port": {port.host}, "guest_addr": "{_ADDRESS}", "guest_port": {port.container}}}}}'
    )


def _ask_slirp(path: str, request: str) -> str:
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
        sock.sendall(request.encode())
        sock.shutdown(_socket.SHUT_WR)
        return sock.recv(4096).decode(errors="replace")
    finally:
        sock.close()
