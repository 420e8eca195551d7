"""A tour of networks with real containers, as root and as an ordinary user: names, a web server, many at once.

The machine is a namespace of the test's own with a neighbour, so that nothing here meets what else is on the real one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE

import pytest

from cratebox.linux import caps
from support import dns, leaks, tun
from support.commands import Crate
from support.kin import kill_at_once
from support.netspaces import Machine, Netspace
from support.ready import Ready, Stock

pytestmark = pytest.mark.timeout(600)
SERVER = "mkdir /www; echo hello > /www/index.html; exec busybox httpd -f -vv -p 80 -h /www"
Until = Callable[..., object]


@dataclass(frozen=True)
class Tour:
    """A crate on a machine of its own, with two images in its store: busybox, and a real one, `alpine`."""

    machine: Machine
    crate: Crate
    box: Ready
    alpine: str

    def network(self, name: str, *flags: str) -> str:
        self.crate.ok("network", "create", *flags, name)
        return name

    def serve(self, name: str, network: str, *flags: str, script: str = SERVER) -> str:
        """Leave a server behind, called `name`; return its ID."""
        return self.box.detached("--name", name, "--network", network, *flags, "@", "sh", "-c", script)

    def script(self, network: str, script: str, *flags: str) -> str:
        """Return what a shell in a new container on `network` prints."""
        return self.crate.ok("run", "--rm", "--network", network, *flags, self.alpine, "sh", "-c", script)

    def address(self, name: str, network: str, key: str = "IPAddress") -> str:
        found = self.crate.json("inspect", name)[0]["NetworkSettings"]["Networks"][network][key]  # type: ignore[index]
        assert found
        return str(found)


@pytest.fixture(params=["root", "user"])
def tour(request: pytest.FixtureRequest, busybox_image: object, alpine_image: object, stock: Stock) -> Iterator[Tour]:
    crate: Crate = request.getfixturevalue("rootful" if request.param == "root" else "rootless")
    if request.param == "user" and (reason := tun.why_not()):
        pytest.skip(reason)
    if os.geteuid():
        pytest.skip("it takes root to give a test a machine of its own")
    box = stock(crate, busybox_image)
    crate.ok("pull", "--quiet", str(alpine_image))
    machine = Machine()
    machine.ip("route", "add", "default", "via", Machine.NEIGHBOUR)
    machine.ip("route", "add", "default", "via", Machine.NEIGHBOUR6)
    there = ("nsenter", f"--net=/proc/{machine.pid}/ns/net")
    if request.param == "user":
        there += tun.prefix(crate.directory.parent, crate.person.uid, crate.person.gid)
    crate = crate.within(there)
    try:
        yield Tour(machine, crate, replace(box, crate=crate), alpine_image.image.id.removeprefix("sha256:"))  # type: ignore[attr-defined]
    finally:
        crate("rm", "-f", *crate("ps", "-aq").stdout.split())
        crate("system", "prune", "-f")
        machine.end()


def fetched(space: Netspace, address: str, port: int) -> str:
    """Return what a web server gives to somebody in that network namespace."""
    with space.talk(address, port) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        said = b""
        while piece := sock.recv(4096):
            said += piece
    return said.decode().rpartition("\r\n\r\n")[2].strip()


def is_there(space: Netspace, address: str, port: int) -> bool:
    try:
        return fetched(space, address, port) == "hello"
    except OSError:
        return False


def test_containers_find_each_other_by_name(tour: Tour) -> None:
    back = tour.network("back", "--ipv6")
    web = tour.serve("web", back, "--network-alias", "www", "--hostname", "house")
    names = ("web", "www", "house", web[:12], "web.back", "WEB")
    fetches = "; ".join(f"wget -q -T 10 -O- http://{name}/" for name in names)
    assert tour.script(back, fetches).split() == ["hello"] * len(names)
    four, six = tour.address("web", back), tour.address("web", back, "GlobalIPv6Address")
    assert tour.script(back, f"wget -q -T 10 -O- 'http://[{six}]/'; wget -q -T 10 -O- http://{four}/").split() == ["hello"] * 2
    assert f"Address: {six}" in tour.script(back, "nslookup -type=aaaa web")
    assert "name = web.back" in tour.script(back, f"nslookup {four}")


def test_who_starts_later_is_found_by_who_is_there_and_whoever_ends_is_not(tour: Tour) -> None:
    back = tour.network("back", "--internal")
    tour.serve("first", back)
    tour.serve("second", back)
    look = ("exec", "first", "nslookup", "second")
    assert tour.address("second", back) in tour.crate.ok(*look)
    tour.crate.ok("rm", "-f", "second")
    assert tour.crate(*look).returncode == 1
    tour.serve("second", back)
    assert tour.address("second", back) in tour.crate.ok(*look)


def test_names_follow_connect_disconnect_and_rename(tour: Tour) -> None:
    front, back = tour.network("front", "--internal"), tour.network("back", "--internal")
    tour.serve("web", front)
    tour.serve("db", back)
    look = ("exec", "web", "nslookup")
    assert tour.crate(*look, "db").returncode == 1
    tour.crate.ok("network", "connect", "--alias", "store", back, "web")
    for name in ("db", "store"):
        assert tour.address("db" if name == "db" else "web", back) in tour.crate.ok(*look, name)
    assert tour.address("web", back) in tour.crate.ok("exec", "db", "nslookup", "web")
    tour.crate.ok("rename", "db", "data")
    assert tour.crate(*look, "db").returncode == 1
    assert tour.address("data", back) in tour.crate.ok(*look, "data")
    tour.crate.ok("network", "disconnect", back, "web")
    for who, name in (("web", "data"), ("data", "web")):
        assert tour.crate("exec", who, "nslookup", name).returncode == 1


def test_a_published_web_server_is_fetched_from_everywhere(tour: Tour, until: Until) -> None:
    front = tour.network("front")
    tour.serve("web", front, "-p", "8080:80")
    until(lambda: is_there(tour.machine, "127.0.0.1", 8080))
    assert fetched(tour.machine, Machine.ADDRESS, 8080) == "hello"
    assert fetched(tour.machine.neighbour, Machine.ADDRESS, 8080) == "hello"
    assert tour.script(front, "wget -q -T 10 -O- http://web/") == "hello"
    assert tour.script(front, f"wget -q -T 10 -O- http://{Machine.ADDRESS}:8080/") == "hello"
    assert tour.crate.ok("port", "web").splitlines()[0] == "80/tcp -> 0.0.0.0:8080"
    client = (
        Machine.NEIGHBOUR if tour.box.crate.person.is_root else tour.address("web", front)
    )  # see [networks] keep_client_addresses
    assert client in tour.crate("logs", "web").stderr


def test_the_default_network_has_a_way_outside_and_published_ports(tour: Tour, until: Until) -> None:
    tour.serve("web", "bridge", "-p", "127.0.0.1:8081:80")
    until(lambda: is_there(tour.machine, "127.0.0.1", 8081))
    assert not is_there(tour.machine.neighbour, Machine.ADDRESS, 8081)
    listening = tour.machine.neighbour.listen(7777)
    url = f"http://{Machine.NEIGHBOUR}:7777/"
    with listening:
        client = tour.crate.start("run", "--rm", "--network", "bridge", tour.alpine, "wget", "-q", "-O-", url, stdout=PIPE)
        talk, peer = listening.accept()
        with talk:
            assert peer[0] == Machine.ADDRESS  # as everybody behind this machine
            assert talk.recv(4096).startswith(b"GET / ")
            talk.sendall(b"HTTP/1.0 200 OK\r\n\r\nso\n")
        assert client.communicate(timeout=30)[0].decode() == "so\n"


def test_datagrams_are_published(tour: Tour, until: Until) -> None:
    front = tour.network("front")
    tour.crate.ok(
        "run", "-d", "--network", front, "-p", "5353:5353/udp", tour.alpine, "nc", "-u", "-l", "-p", "5353", "-e", "cat"
    )
    with tour.machine.neighbour.open(kind=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect((Machine.ADDRESS, 5353))

        def said() -> bytes:
            try:
                sock.send(b"how")
                return sock.recv(16)
            except OSError:  # not yet
                return b""

        until(lambda: said() == b"how")


def test_ipv6_is_published(tour: Tour, until: Until) -> None:
    front = tour.network("front", "--ipv6")
    tour.serve("web", front, "-p", "8080:80")
    until(lambda: is_there(tour.machine.neighbour, Machine.ADDRESS6, 8080))
    assert fetched(tour.machine, Machine.ADDRESS6, 8080) == "hello"


def test_a_port_that_is_taken_is_refused_and_said_by_whom(tour: Tour, until: Until) -> None:
    front = tour.network("front")
    tour.serve("web", front, "-p", "8080:80")
    until(lambda: is_there(tour.machine, "127.0.0.1", 8080))
    said = tour.box.fails("--network", front, "-p", "8080:80", "@", "true")
    assert "8080" in said
    assert "web" in said
    assert len(tour.crate.ok("ps", "-aq").split()) == 1
    tour.crate.ok("rm", "-f", "web")
    assert tour.box.run("--network", front, "-p", "8080:80", "@", "echo", "free") == "free"


def test_an_internal_network_has_no_way_outside(tour: Tour) -> None:
    back = tour.network("back", "--internal")
    tour.serve("web", back)
    outside = f"wget -q -T 2 -O- http://{Machine.NEIGHBOUR}/ || echo closed"
    found = tour.script(back, outside + "; wget -q -T 10 -O- http://web/; nslookup example.com; true")
    assert "closed" in found
    assert "hello" in found
    assert "NXDOMAIN" in found


def test_names_of_others_are_asked_of_the_servers_that_are_named(tour: Tour) -> None:
    front = tour.network("front")
    tour.serve("web", front)
    with tour.machine.neighbour.inside():
        upstream = dns.Upstream(lambda message, _: [dns.answering(message, "192.0.2.77")], "192.0.2.2")
    with upstream:
        found = tour.script(front, "nslookup other.example; nslookup web", "--dns", Machine.NEIGHBOUR)
        assert "Address: 192.0.2.77" in found
        assert f"Address: {tour.address('web', front)}" in found
        assert "nameserver 127.0.0.11" in tour.script(front, "cat /etc/resolv.conf", "--dns", Machine.NEIGHBOUR)
        plain = tour.script("bridge", "cat /etc/resolv.conf; nslookup other.example", "--dns", Machine.NEIGHBOUR)
        assert f"nameserver {Machine.NEIGHBOUR}" in plain
        assert "Address: 192.0.2.77" in plain


def resolvers_of(crate: Crate) -> dict[str, int]:
    """It and its guardian, by their names."""
    found = {}
    for pid in leaks.processes_with(str(crate.state)):
        process = Path(f"/proc/{pid}")
        if b"crate-resolver" in process.joinpath("cmdline").read_bytes():
            found[process.joinpath("comm").read_text().strip()] = pid
    return found


def test_names_are_there_again_after_the_resolver_was_killed(tour: Tour, until: Until) -> None:
    back = tour.network("back", "--internal")
    tour.serve("web", back)
    tour.serve("db", back)

    before = resolvers_of(tour.crate)
    assert sorted(before) == ["crate-guardian", "crate-resolver"]
    os.kill(before["crate-resolver"], signal.SIGKILL)
    until(lambda: tour.crate("exec", "web", "nslookup", "db").returncode == 0)
    after = resolvers_of(tour.crate)
    assert after["crate-guardian"] == before["crate-guardian"]
    assert after["crate-resolver"] != before["crate-resolver"]
    kill_at_once(after["crate-guardian"], after["crate-resolver"])
    until(lambda: not resolvers_of(tour.crate))
    tour.crate.ok("network", "ls")  # any word about networks does
    until(lambda: tour.crate("exec", "web", "nslookup", "db").returncode == 0)
    kill_at_once(*resolvers_of(tour.crate).values())
    until(lambda: not resolvers_of(tour.crate))
    tour.serve("next", back)  # and so does whoever comes next
    until(lambda: tour.crate("exec", "web", "nslookup", "next").returncode == 0)
    tour.crate.ok("rm", "-f", "web", "db", "next")
    until(lambda: not resolvers_of(tour.crate))


def test_the_resolver_has_no_right_that_it_does_not_need(tour: Tour, until: Until) -> None:
    def status() -> str:
        pid = resolvers_of(tour.crate).get("crate-resolver")
        return Path(f"/proc/{pid}/status").read_text() if pid else ""

    tour.serve("web", tour.network("back", "--internal"))
    until(lambda: tour.crate("exec", "web", "nslookup", "web").returncode == 0)  # it has begun by then
    found = {name: int(value, 16) for name, value in (line.split(":\t") for line in status().splitlines()) if name[:3] == "Cap"}
    at_times = caps.mask(("CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN"))
    read = caps.mask(("CAP_DAC_READ_SEARCH",))
    if not tour.crate.person.is_root:
        read = at_times = 0
    assert (found["CapEff"], found["CapPrm"], found["CapInh"], found["CapAmb"]) == (read, read | at_times, 0, 0)
    assert "NoNewPrivs:\t1" in status()


def test_rules_that_somebody_flushes_are_back_without_a_word(tour: Tour, until: Until) -> None:
    if not tour.crate.person.is_root:
        pytest.skip("an ordinary user's networks need no rules")
    tour.serve("web", tour.network("front"), "-p", "8080:80")
    until(lambda: is_there(tour.machine.neighbour, Machine.ADDRESS, 8080))
    with tour.machine.inside():
        for _ in range(3):
            subprocess.run(["nft", "flush", "ruleset"], check=True)
    until(lambda: is_there(tour.machine.neighbour, Machine.ADDRESS, 8080))
    with tour.machine.inside():
        assert (
            "iifname @bridges ip daddr 127.0.0.0/8 drop"
            in subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        )


def test_rules_that_are_gone_are_found_and_loaded_by_check(tour: Tour, until: Until) -> None:
    if not tour.crate.person.is_root:
        pytest.skip("an ordinary user's networks need no rules")
    tour.serve("web", "bridge", "-p", "8080:80")  # where nobody has names, nobody listens for it
    said = "the nftables rules of networks are gone"
    assert said not in tour.crate("system", "check", "--quick").stdout
    with tour.machine.inside():
        subprocess.run(["nft", "flush", "ruleset"], check=True)
    assert said in tour.crate("system", "check", "--quick").stdout
    assert "crate: loaded the rules of networks" in tour.crate("system", "check", "--quick", "--repair").stdout
    until(lambda: is_there(tour.machine.neighbour, Machine.ADDRESS, 8080))


def test_fifty_at_once_have_an_address_each_and_find_each_other(tour: Tour) -> None:
    back = tour.network("back", "--internal")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: tour.box.detached("--name", f"n{n}", "--network", back, "@", "sleep", "600"), range(50)))
    members = tour.crate.json("network", "inspect", back)[0]["Containers"].values()  # type: ignore[index]
    addresses = {one["Name"]: one["IPv4Address"].partition("/")[0] for one in members}
    assert sorted(addresses) == sorted(f"n{n}" for n in range(50))
    assert len(set(addresses.values())) == 50
    found = tour.crate.ok("exec", "n0", "sh", "-c", "for n in $(seq 0 49); do nslookup n$n | sed -n 's/^Address: //p'; done")
    assert found.split() == [addresses[f"n{n}"] for n in range(50)]
    begun = time.monotonic()
    tour.crate.ok("rm", "-f", *addresses)
    assert not tour.crate.json("network", "inspect", back)[0]["Containers"], time.monotonic() - begun  # type: ignore[index]
