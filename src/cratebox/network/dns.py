"""Names inside of network namespaces: whoever attaches one has its questions answered at RESOLVER, port 53.

    dns.py            the side of who attaches: sockets of the namespace go to the resolver, which is started where there is none
    dns_redirect.py   what leads questions to those sockets
    dns_place.py      where the resolver of a place is found, and whom it is to answer
    dns_server.py     the resolver: a process for each place, from the first namespace to the last
    dns_asker.py      one namespace, as the resolver serves it
    dns_names.py      who is called what
    dns_forward.py    questions for others
    dns_message.py    messages, read and written
    rights.py         what the resolver may do
    firewall_watch.py what it does besides, since it is there: rules that somebody flushes are loaded again

    who attaches                                 the resolver
    ------------                                 ------------
    makes the sockets inside, redirects to them
    takes the lock, notes OWNER
    sends sockets and pidfd through the door --> answers them until the pidfd says that the process has ended
    frees the lock

Nobody waits for the resolver: what is asked before it is there waits in the sockets. Where it was killed, the sockets are gone
with it; its guardian starts another one, which makes new ones in all the namespaces that are noted. Where that one was killed
as well, whoever comes next does (`attach`, `heal`).
"""

from __future__ import annotations

import _signal
import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import fdpass, lock
from cratebox.network import dns_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from cratebox.network.inside import Target
    from cratebox.network.model import Place, Reservation

COMMAND = "crate-resolver"  # what _entry.py is told
_KEPT = ("PATH", "HOME", "LANG", "XDG_RUNTIME_DIR", "CRATE_DEBUG")  # of the environment; there are secrets in the rest


def attach(
    place: Place, reservation: Reservation, target: Target, udp: _socket.socket, tcp: _socket.socket, netfilter: _socket.socket
) -> None:
    """Have the questions of the network namespace of `target` answered, as those of the reservation's owner.

    `udp` and `tcp` are sockets of that namespace, bound to RESOLVER, `netfilter` is one of NETLINK_NETFILTER; the caller closes
    them. Raises RuntimeFailure.
    """
    from cratebox.network import dns_redirect

    try:
        dns_redirect.install(netfilter, udp.getsockname()[1], tcp.getsockname()[1])
        _send(place, reservation.owner, target, (udp.fileno(), tcp.fileno(), target.pidfd))
    except OSError as error:
        raise RuntimeFailure(f"cannot resolve names for a container: {error}") from None


def is_attached(place: Place, owner: str, pid: int) -> bool:
    """Tell whether the namespace of that very process is answered already."""
    return dns_place.is_written(place, owner, pid)


def heal(place: Place) -> None:
    """Start a resolver where there is none and somebody needs it: it was killed, and its guardian too. It is best effort:
    whoever attaches the next namespace says what is in the way.
    """
    try:
        if not os.path.isdir(dns_place.directory(place)) or _is_there(place) or not dns_place.written(place):
            return
        held = dns_place.hold(place)
        try:
            (dns_place.connect(place) or _start(place)).close()
        finally:
            lock.release(held)
    except OSError:
        pass


def _is_there(place: Place) -> bool:
    door = dns_place.connect(place)
    if door:
        door.close()
    return door is not None


def _send(place: Place, owner: str, target: Target, fds: tuple[int, ...]) -> None:
    try:
        held = dns_place.hold(place)
    except FileNotFoundError:
        os.makedirs(dns_place.directory(place), mode=0o700, exist_ok=True)
        held = dns_place.hold(place)
    try:
        dns_place.write_down(place, owner, target.pid)
        target.check()  # else that was another process with its number; what was written is forgotten with that one
        door = dns_place.connect(place) or _start(place)
        try:
            fdpass.send(door, owner.encode(), fds)
        finally:
            door.close()
    finally:
        lock.release(held)


def _start(place: Place) -> _socket.socket:
    """Start the resolver and return a socket at whose other end it is, or will be in a moment. The caller has the lock."""
    door = dns_place.listen(place)
    try:
        child = os.fork()
        if child == 0:
            _become_resolver(place, door.fileno())
        os.waitpid(child, 0)
    finally:
        door.close()
    reached = dns_place.connect(place)
    if reached is None:
        raise ChildProcessError(10, "the resolver of names cannot be started")
    return reached


def _become_resolver(place: Place, door: int) -> NoReturn:
    """In a child of a child, which nobody has to wait for: execute the resolver."""
    from cratebox import third_party
    from cratebox.linux import process

    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for number in (0, 1, 2):
                os.dup2(null, number)
            os.set_inheritable(door, True)
            process.close_from(3, (door,))
            os.chdir("/")
            _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
            words = third_party.program(COMMAND)
            argv = [*words, place.root, place.state, "rootless" if place.rootless else "rootful", str(door)]
            env = {name: os.environ[name] for name in _KEPT if name in os.environ}
            os.execve(argv[0], argv, env)  # noqa: S606
    finally:
        os._exit(126)
