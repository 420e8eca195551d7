"""Network namespaces for tests: of a machine, of its neighbour, of containers.

A socket belongs to the namespace in which it was made: one that `Netspace.open` made in a container is used here like any.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cratebox.linux import const, namespaces
from cratebox.network import definitions, endpoints, firewall
from cratebox.network.inside import Target
from cratebox.network.model import Network, Place, Port, Reservation, Subnet, Wish

SECONDS = 5.0  # for what must come; what must not come is waited for as shortly as can be told


class Netspace:
    """A network namespace that a process of ours holds: `pid`."""

    def __init__(self) -> None:
        ready, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                namespaces.unshare(const.CLONE_NEWNET)
                os.write(told, b"!")
                os.close(told)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(told)
        assert os.read(ready, 1) == b"!"
        os.close(ready)
        self._fd, self._pidfd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC), os.pidfd_open(self.pid)
        with self.inside():
            self.ip("link", "set", "lo", "up")

    def end(self) -> None:
        """As a container ends that is killed: nobody says a word."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._fd)
            os.close(self._pidfd)
            self.pid = 0

    @property
    def target(self) -> Target:
        return Target(self.pid, self._pidfd)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the namespace; what this test starts or opens is in it as well."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.setns(self._fd, const.CLONE_NEWNET)
        try:
            yield
        finally:
            namespaces.setns(own, const.CLONE_NEWNET)
            os.close(own)

    def ip(self, *words: str) -> str:
        with self.inside():
            done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sysctl(self, name: str, value: str) -> None:
        with self.inside():
            Path("/proc/sys/" + name).write_text(value)

    def setting(self, name: str) -> str:
        with self.inside():
            return Path("/proc/sys/" + name).read_text().strip()

    def open(self, address: str = "", kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """Return a socket of the family of `address`, made in here."""
        with self.inside():
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, protocol)
        made.settimeout(SECONDS)
        return made

    def listen(self, port: int, address: str = "0.0.0.0", kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        made = self.open(address, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            if kind == socket.SOCK_STREAM:
                made.listen(16)
        except OSError:
            made.close()
            raise
        return made

    def talk(self, address: str, port: int, seconds: float = SECONDS, protocol: int = 0) -> socket.socket:
        """Connect from here by TCP (or `protocol`). Raises OSError; TimeoutError after `seconds`."""
        made = self.open(address, protocol=protocol)
        made.settimeout(seconds)
        try:
            made.connect((address, port))
        except OSError:
            made.close()
            raise
        return made


class Machine(Netspace):
    """A machine with a neighbour on eth0: 192.0.2.1 and 192.0.2.2, 2001:db8::1 and ::2."""

    ADDRESS, ADDRESS6, NEIGHBOUR, NEIGHBOUR6 = "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"

    def __init__(self) -> None:
        super().__init__()
        self.neighbour = Netspace()
        self.sysctl("net/ipv4/ip_forward", "0")
        self.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(self.neighbour.pid))
        for who, four, six in ((self, self.ADDRESS, self.ADDRESS6), (self.neighbour, self.NEIGHBOUR, self.NEIGHBOUR6)):
            who.ip("address", "add", four + "/24", "dev", "eth0")
            who.ip("address", "add", six + "/64", "dev", "eth0", "nodad")
            who.ip("link", "set", "eth0", "up")

    def end(self) -> None:
        self.neighbour.end()
        super().end()


@dataclass
class Started:
    space: Netspace
    reservation: Reservation

    @property
    def ip(self) -> str:
        return self.reservation.endpoints[0].ip

    @property
    def ip6(self) -> str:
        return self.reservation.endpoints[0].ip6


@dataclass
class Net:
    """Networks of one crate on one machine."""

    machine: Machine
    place: Place
    containers: list[Netspace] = field(default_factory=list)

    def create(self, name: str, *subnets: str, **words: object) -> Network:
        """Make a network; without names, which bring a process along, unless they are wished."""
        words = {"names": False, "interface": "", **words}
        return definitions.create(self.place, Network(id="", name=name, subnets=tuple(map(Subnet, subnets)), **words))

    def default(self) -> Network:
        return definitions.default(self.place)

    def reserve(self, label: str, *wishes: Wish | Network, ports: tuple[Port, ...] = (), **words: object) -> Reservation:
        wanted = tuple(one if isinstance(one, Wish) else Wish(one, f"eth{n}") for n, one in enumerate(wishes))
        return endpoints.reserve(self.place, owner_of(label), label, wanted, ports, **words)

    def start(self, label: str, *wishes: Wish | Network, ports: tuple[Port, ...] = (), **words: object) -> Started:
        reservation = self.reserve(label, *wishes, ports=ports, **words)
        container = self.space()
        endpoints.attach(self.place, reservation, container.pid)
        return Started(container, reservation)

    def space(self) -> Netspace:
        container = Netspace()
        self.containers.append(container)
        return container


def owner_of(label: str) -> str:
    return label.encode().hex().ljust(64, "0")


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """Networks on a machine of this test's own, a namespace, that has left nothing on the real one."""
    if os.geteuid():
        pytest.skip("root's networks; tests/network/test_user*.py has those of ordinary users")
    machine = Machine()
    made = Net(machine, Place(f"{tmp_path}/root", f"{tmp_path}/state"))
    kept, firewall._kept[:] = list(firewall._kept), []  # it is a socket of another namespace
    try:
        with machine.inside():
            yield made
    finally:
        for _pid, sock in firewall._kept:
            sock.close()
        firewall._kept[:] = kept
        for one in made.containers:
            one.end()
        machine.end()
