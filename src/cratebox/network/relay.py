"""Published ports of an ordinary user's containers: who asks this machine for one is led to the container by a process of the
user's.

    relay.py            the side of who publishes: listens, starts the relay, ends it
    relay_server.py     the relay, a process for each container
    relay_stream.py     one connection (TCP)
    relay_datagrams.py  one port of UDP

    supervisor: listens on the ports
        └── (a child, which ends at once)
              └── guardian (linux/guard.py)     starts the relay again where it is killed: has the listening sockets as well
                    └── relay                   asleep (linux/sleeper.py), some kilobytes, until somebody connects;
                                                then an interpreter,
                                                which sleeps again when nobody has been connected for a while

The relay stays in the machine's namespaces: it listens there, and connects by sockets that a child has made in the container's.
So bytes go from one socket to the other and through no tun device, and nothing of the user's can be reached from inside.

STATE/networks/relays/OWNER is a symlink to "PID START BOOT" of the guardian: it is there whole, or not.
"""

from __future__ import annotations

import _socket
import errno
import os
import select

from cratebox import third_party
from cratebox.errors import RuntimeFailure
from cratebox.linux import const, guard, process, sleeper, stub
from cratebox.network import ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from cratebox.network.model import Place, Port, Reservation

COMMAND = NAME = "crate-ports"  # what _entry.py is told, and what ps shows
SERVE, GUARD = "serve", "guard"  # what whoever is executed is to be
_KEPT = ("PATH", "HOME", "LANG", "CRATE_DEBUG")  # of the environment; there are secrets in the rest
_BACKLOG = 4096  # the kernel takes net.core.somaxconn where that is less
_SIGKILL, _SECONDS_TO_END = 9, 10.0


def begin(place: Place, reservation: Reservation, namespaces: tuple[int, int]) -> None:
    """Lead who asks for the ports of `reservation` to the address by which it is reached,
    in place of a relay that its owner had.

    `namespaces`: the owner's, of user and network, opened. Raises Conflict where a port is another process's, RuntimeFailure.
    """
    end(place, reservation.owner)
    if not reservation.ports or not reservation.outward():
        return
    sockets: list[_socket.socket] = []
    try:
        words = [_address(reservation, six=False), _address(reservation, six=True), *map(str, namespaces)]
        for port in reservation.ports:
            sockets.append(_listen(port))
            words.append(f"{port.protocol}:{sockets[-1].fileno()}:{port.container}")
        _start(f"{_directory(place)}/{reservation.owner}", words)
    except OSError as error:
        raise RuntimeFailure(f"cannot publish the ports of {reservation.label}: {error.strerror}") from None
    finally:
        for sock in sockets:
            sock.close()


def has_died(place: Place, owner: str) -> bool:
    """Tell whether `owner` had a relay that nobody has ended: it was killed, and its guardian too.
    One that is just begun has not.
    """
    path = f"{_directory(place)}/{owner}"
    return os.path.islink(path) and not _guardian(path)


def guardian_of(place: Place, owner: str) -> int:
    """Return the process above the relay of `owner`, 0 where there is none."""
    return _guardian(f"{_directory(place)}/{owner}")


def owners(place: Place) -> list[str]:
    """Return who has a relay, or had one that was killed."""
    try:
        return os.listdir(_directory(place))
    except FileNotFoundError:
        return []


def end(place: Place, owner: str) -> None:
    """End the relay of `owner`, and with it all connections; its ports are free then. Where there is none, nothing happens."""
    path = f"{_directory(place)}/{owner}"
    pid = _guardian(path)
    held = []
    try:
        held = [os.pidfd_open(pid)] if pid else []
        if pid and _guardian(path) == pid:  # not another one with its number
            held += [os.pidfd_open(one) for one in process.children(pid)]
            process.send_signal(held[0], _SIGKILL)  # its child ends with it, see _sleep_first
            for pidfd in held:
                select.select([pidfd], [], [], _SECONDS_TO_END)
    except ProcessLookupError:
        pass  # it has ended meanwhile
    finally:
        for pidfd in held:
            os.close(pidfd)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _guardian(path: str) -> int:
    """Return the pid of who is written down there, 0 where he has ended."""
    try:
        pid, started, boot = os.readlink(path).split()
    except (OSError, ValueError):
        return 0
    return int(pid) if boot == process.boot_id() and process.start_time(int(pid)) == int(started) > 0 else 0


def _directory(place: Place) -> str:
    return place.state + "/networks/relays"


def _address(reservation: Reservation, six: bool) -> str:
    found = reservation.outward(six)
    return "" if found is None else found.ip6 if six else found.ip


def _listen(port: Port) -> _socket.socket:
    """Return a socket at which `port` of this machine is asked for. Raises Conflict, OSError."""
    sock = None
    try:
        sock = ports.bound(port, port.host)
        if sock and port.protocol == "tcp":
            # Its connections have it from the listening socket: those that have ended must not keep the port from the next
            # start.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.listen(_BACKLOG)
    except OSError as error:
        if sock:
            sock.close()
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise
        raise ports.refused(port, port.host, error) from None
    if sock is None:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
    return sock


# The processes


def _start(path: str, words: list[str]) -> None:
    """Leave a guardian and its relay behind, which nobody has to wait for, and write down who it is. Raises OSError."""
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    child = os.fork()
    if child == 0:
        _leave_behind(path, words)
    status = os.waitpid(child, 0)[1]
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, os.strerror(code) if code > 0 else "who was to start the relay was killed")


def _leave_behind(path: str, words: list[str]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        go, going = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(going)
            if os.read(go, 1):  # else who has made it was killed before it was written down
                _guard_first(words)
            os._exit(1)
        os.symlink(f"{child} {process.start_time(child)} {process.boot_id()}", path)
        os.write(going, b"G")
        code = 0
    except OSError as error:
        code = error.errno or 1
    finally:
        os._exit(code)


def _guard_first(words: list[str]) -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1, 2):
        os.dup2(null, number)
    kept = descriptors(words)
    process.close_from(3, kept)
    for fd in kept:
        os.set_inheritable(fd, True)
    os.chdir("/")
    divide(words)


def descriptors(words: Iterable[str]) -> tuple[int, ...]:
    """Return the descriptors that words of `begin` name: those of both namespaces, and the sockets."""
    _four, _six, user, net, *listening = words
    return int(user), int(net), *(int(one.split(":")[1]) for one in listening)


def divide(words: list[str]) -> NoReturn:
    """Become the guardian of a relay, a child of this process. Raises OSError."""
    own_socket = int(words[4].split(":")[1])  # at whose other end nobody is, to be told of orphans
    program = stub.sealed(guard.build(own_socket))
    mine = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.close(program)
            process.prctl("PR_SET_PDEATHSIG", const.PR_SET_PDEATHSIG, _SIGKILL)  # stays over execve(2)
            if os.getppid() == mine:
                sleep(words)
        finally:
            os._exit(126)
    guard.execute(program, child, _program(GUARD, words), _environment())


def sleep(words: list[str]) -> NoReturn:
    """Become what sleeps until somebody asks for one of the ports, and is the relay then. Raises OSError."""
    waiting = select.epoll(1)  # one descriptor, however many ports: it is readable where one of them is
    os.set_inheritable(waiting.fileno(), True)
    for fd in descriptors(words)[2:]:
        waiting.register(fd, select.EPOLLIN)
    program = stub.sealed(sleeper.build({waiting.fileno(): select.POLLIN}))
    sleeper.execute(program, NAME, _program(SERVE, words), _environment())


def _program(what: str, words: list[str]) -> list[str]:
    return [*third_party.program(COMMAND), what, *words]


def _environment() -> list[str]:
    return [f"{name}={os.environ[name]}" for name in _KEPT if name in os.environ]
