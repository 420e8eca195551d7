"""A resolver over namespaces and networks that a test makes up: only loopbacks, and a file that says who is where."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratebox.network import dns, dns_place, dns_server, inside
from cratebox.network.dns_forward import Servers
from cratebox.network.dns_names import Names
from cratebox.network.dns_server import Resolver
from cratebox.network.model import RESOLVER, Endpoint, Network, Place, Reservation, Subnet
from cratebox.network.rights import Rights
from support.netspaces import Netspace

SOCKETS = tuple((socket.AF_INET, kind, 0, (RESOLVER, 0)) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))


class Asking(Netspace):
    """A namespace in which questions are asked."""

    def call(self, function, *args):
        with self.inside():
            return function(*args)


class Rig:
    """Namespaces by their owners' words; the resolver is the project's, reading leases that this wrote."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.place = Place(str(directory / "root"), str(directory / "state"))
        (directory / "state").mkdir()
        self.leases = directory / "state" / "leases"
        self.networks: dict[str, Network] = {}
        self.reservations: dict[str, Reservation] = {}
        self.namespaces: dict[str, Asking] = {}
        self.resolvers: list[int] = []
        patch.setattr(dns, "_start", self._start)
        patch.setattr(dns_server, "_LINGER", 0.2)
        self.resolv_conf = directory / "resolv.conf"
        patch.setattr(dns_server, "Servers", lambda: Servers(str(self.resolv_conf)))

    def network(self, name: str, **more: bool) -> str:
        number = name.encode().hex().ljust(64, "0")
        self.networks[number] = Network(number, name, "br-" + name, (Subnet("10.1.0.0/24"),), **more)
        return number

    def write(self) -> None:
        """Say who is where."""
        fresh = self.leases.with_suffix(".new")
        fresh.write_bytes(pickle.dumps((tuple(self.reservations.values()), self.networks)))
        fresh.rename(self.leases)

    def lease(self, owner: str, label: str, *endpoints: Endpoint, upstreams: tuple[str, ...] = ()) -> None:
        self.reservations[owner] = Reservation(owner, label, endpoints, resolver=True, upstreams=upstreams)
        self.write()

    def attach(self, owner: str) -> Asking:
        """Give `owner` a namespace whose questions are answered."""
        namespace = self.namespaces[owner] = Asking()
        with inside.Target(namespace.pid) as target:
            made = target.open_sockets(False, (*SOCKETS, inside.NETFILTER))
            dns.attach(self.place, self.reservations[owner], target, *made)
        for sock in made:
            sock.close()
        return namespace

    def end(self, owner: str) -> None:
        """Its process ends; the lease stays."""
        self.namespaces.pop(owner).end()

    def _start(self, place: Place) -> socket.socket:
        listening = dns_place.listen(place)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                names = Names(str(self.leases), lambda: self._read()[0], lambda number: self._read()[1].get(number))  # noqa: PLW0108
                Resolver(place, listening, names, Rights()).run()
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        self.resolvers.append(child)
        listening.close()
        reached = dns_place.connect(place)
        assert reached
        return reached

    def _read(self) -> tuple[tuple[Reservation, ...], dict[str, Network]]:
        return pickle.loads(self.leases.read_bytes())

    def kill_resolver(self) -> None:
        pid = self.resolvers.pop()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def close(self) -> None:
        for namespace in self.namespaces.values():
            namespace.end()
        for pid in self.resolvers:  # it ends by itself with the last namespace
            wait_for(lambda pid=pid: os.waitpid(pid, os.WNOHANG)[0] == pid)


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def endpoint(network: str, name: str, ip: str = "", ip6: str = "", aliases: tuple[str, ...] = ()) -> Endpoint:
    """Return an endpoint; the prefixes are 24 and 64."""
    return Endpoint(
        network, name, "eth0", "veth", "02:42:0a:01:00:02", ip, 24 if ip else 0, "", ip6, 64 if ip6 else 0, "", aliases
    )


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if os.geteuid():
        pytest.skip("it takes root to make network namespaces without a user namespace")
    made = Rig(tmp_path, monkeypatch)
    try:
        yield made
    finally:
        made.close()


__all__ = ["Rig", "endpoint", "rig", "wait_for"]
