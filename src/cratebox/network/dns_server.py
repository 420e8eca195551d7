"""The resolver of a place: a process that answers all of its namespaces, from the first to the last; see dns.py."""

from __future__ import annotations

import _signal
import _socket
import errno
import gc
import os
import resource
import time

from cratebox import third_party
from cratebox.linux import door, fdpass, guard, lock, process, stub
from cratebox.network import dns, dns_place, inside
from cratebox.network.dns_asker import Asker, Surroundings
from cratebox.network.dns_forward import Servers
from cratebox.network.dns_names import Names
from cratebox.network.loop import Loop
from cratebox.network.model import RESOLVER, Place
from cratebox.network.rights import Rights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.network.inside import Kind

_LINGER = 1.0  # seconds after the last namespace: the next one is often not far
_SHORT_LIFE = 1.0  # seconds: who fails so soon would fail again


class Resolver:
    """Of `place`, at the door `listening`. What takes `rights` is done with them."""

    def __init__(self, place: Place, listening: _socket.socket, names: Names, rights: Rights) -> None:
        self._place, self._door, self._rights = place, listening, rights
        self.loop = self._loop = Loop()
        self._surroundings = Surroundings(self._loop, names, Servers(), self._open_inside)
        self._askers = self._surroundings.askers
        self._pids: dict[int, int] = {}
        self._is_over = False
        self._door_file = dns_place.door_file(place)
        self._loop.watch(listening.fileno(), self._let_in)

    def run(self) -> None:
        """Answer until nobody is left who could ask."""
        held = dns_place.hold(self._place)  # whoever has started us is done then
        try:
            self._let_in()
            self._revive()
        finally:
            lock.release(held)
        self._linger()
        while not self._is_over:
            self._loop.turn()

    def _let_in(self) -> None:
        """Take the namespaces that were sent through the door."""
        while sock := door.accept(self._door):
            try:
                sock.settimeout(1.0)  # it was sent before the lock was freed; a stranger who says nothing must not hold us up
                owner, fds = fdpass.receive(sock)
            except OSError:
                continue
            finally:
                sock.close()
            if len(fds) == 3:
                udp, tcp = (_socket.socket(fileno=fd) for fd in fds[:2])
                self._take(owner.decode(), fds[2], udp, tcp)
            else:
                for fd in fds:
                    os.close(fd)

    def _take(self, owner: str, pidfd: int, udp: _socket.socket, tcp: _socket.socket) -> None:
        """Answer a namespace; one that the owner had before is his no longer."""
        if owner in self._askers:
            self._askers.pop(owner).close()
        asker = self._askers[owner] = Asker(self._surroundings, owner, pidfd, udp, tcp)
        self._loop.watch(pidfd, lambda: self._end(asker))
        names = self._surroundings.names
        if owner in names.gone:
            names.gone.discard(owner)
            self._read_again()

    def _end(self, asker: Asker) -> None:
        """The process has ended: its name is nobody's, whether its lease is given up already or not."""
        asker.close()
        if self._askers.get(asker.owner) is asker:
            del self._askers[asker.owner]
            self._forget_the_ended()
            self._surroundings.names.gone.add(asker.owner)
            self._read_again()
        self._linger()

    def _forget_the_ended(self) -> None:
        try:
            dns_place.written(self._place)
        except OSError:
            pass  # no descriptor is free: the next end will do

    def _read_again(self) -> None:
        self._surroundings.names.read()
        for asker in self._askers.values():
            asker.forget()

    def _revive(self) -> None:
        """Answer those again whose resolver was killed."""
        for owner, pid in dns_place.written(self._place).items():
            if owner not in self._askers:
                try:
                    self._take_again(owner, pid)
                except OSError:
                    continue  # it has ended meanwhile

    def _take_again(self, owner: str, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        try:
            if not dns_place.is_written(
                self._place, owner, pid
            ):  # its number may be another's by now, the machine's first one's
                raise ProcessLookupError(3, os.strerror(3))
            udp, tcp = self._renewed(pidfd)
        except OSError:
            os.close(pidfd)
            raise
        self._take(owner, pidfd, udp, tcp)

    def _renewed(self, pidfd: int) -> tuple[_socket.socket, _socket.socket]:
        from cratebox.network import dns_redirect

        kinds: tuple[Kind, ...] = (
            (_socket.AF_INET, _socket.SOCK_DGRAM, 0, (RESOLVER, 0)),
            (_socket.AF_INET, _socket.SOCK_STREAM, 0, (RESOLVER, 0)),
            inside.NETFILTER,
        )
        with self._rights:
            udp, tcp, netfilter = inside.open_sockets_of(pidfd, self._place.rootless, kinds)
            try:
                dns_redirect.install(netfilter, udp.getsockname()[1], tcp.getsockname()[1], again=True)
            finally:
                netfilter.close()
        return udp, tcp

    def _open_inside(self, pidfd: int, family: int, kind: int) -> _socket.socket:
        """Return a socket in the network namespace of a process. Raises OSError."""
        with self._rights:
            return inside.open_sockets_of(pidfd, self._place.rootless, ((family, kind, 0, None),))[0]

    def _linger(self) -> None:
        if not self._askers:
            self._loop.after(_LINGER, self._retire)

    def _retire(self) -> None:
        """End, where nobody is left and nobody is just coming."""
        if self._askers or self._is_over:
            return
        try:
            held = dns_place.try_hold(self._place)
        except OSError:
            self._is_over = True  # the place is gone
            return
        if held is None:
            self._linger()
            return
        self._let_in()
        if self._askers:
            lock.release(held)
            return
        dns_place.remove_door(self._place, self._door_file)
        self._is_over = True  # the lock is free with our end


def main(args: list[str]) -> int:
    """Be the resolver: the directories of the place, whether it is without root, the descriptor of the door."""
    gc.enable()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())  # a guardian has blocked them all
    listening = _socket.socket(fileno=int(args[3]))
    _divide(args, listening)
    process.set_name("crate-resolver")
    rights = Rights()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    place = Place(args[0], args[1], rootless=args[2] == "rootless")
    resolver, begun = _resolver_of(place, listening, rights), time.monotonic()
    try:
        resolver.run()
    except Exception:
        if time.monotonic() - begun > _SHORT_LIFE:
            os.kill(os.getpid(), _signal.SIGKILL)  # what nobody has thought of: the guardian starts the next one
        raise
    return 0


def _divide(args: list[str], listening: _socket.socket) -> None:
    """Go on in a child, with this process as its guardian (linux/guard.py), who starts the resolver anew where it is killed:
    with the door, which is never shut, so that nobody who comes meanwhile is lost.
    """
    program = stub.sealed(guard.build(listening.fileno()))  # nobody is at that socket's other end to be told of orphans
    child = os.fork()
    if child:
        words = [*third_party.program(dns.COMMAND), *args]
        env = [f"{name}={value}" for name, value in os.environ.items()]
        guard.execute(program, child, words, env)
    os.close(program)
    os.set_inheritable(listening.fileno(), False)


def _resolver_of(place: Place, listening: _socket.socket, rights: Rights) -> Resolver:
    from cratebox.errors import CrateError
    from cratebox.network import definitions, endpoints, leases
    from cratebox.network.model import Network, Reservation

    def read() -> tuple[Reservation, ...]:
        try:
            return endpoints.all_of(place)
        except CrateError as error:  # what was known counts; whoever uses the networks next says what is wrong with the file
            raise OSError(errno.EIO, error.message) from None

    def load(number: str) -> Network | None:
        try:
            return definitions.load(place, number)
        except CrateError:
            return None

    resolver = Resolver(place, listening, Names(leases.path_of(place), read, load), rights)
    if not place.rootless:
        _watch_rules(place, resolver, rights)
    return resolver


def _watch_rules(place: Place, resolver: Resolver, rights: Rights) -> None:
    from cratebox.network.firewall_watch import FirewallWatch

    try:
        watch = FirewallWatch(place, resolver.loop, rights)
    except OSError:
        return  # of a kernel or a container where nobody may listen
    resolver.loop.after(0.0, watch.look)  # somebody may have deleted them while nobody was here
