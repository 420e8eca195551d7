"""Published ports of an ordinary user: what a relay (network/relay.py) leads to a container and back, with real traffic."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cratebox.linux import process
from cratebox.network.relay_server import most_connections
from support.commands import Crate
from support.published import Until, free_port, held_on_the_way, left_of, own_address, published, serving
from support.ready import Ready

PATIENCE = 60.0  # seconds that a socket waits at most, on a machine that is very busy
LISTEN = """
import os, socket, struct, sys, threading
sock = socket.create_server(("0.0.0.0", 80), backlog=512)
def each(serve):
    print("ready", flush=True)
    while True:
        one, client = sock.accept()
        threading.Thread(target=serve, args=(one, client), daemon=True).start()
"""
ECHO = LISTEN + "each(lambda one, client: [one.sendall(data) for data in iter(lambda: one.recv(65536), b'')] and one.close())"
COUNT = (
    LISTEN + "each(lambda one, client: (one.sendall(b'%d' % sum(map(len, iter(lambda: one.recv(65536), b'')))), one.close()))"
)
WHO = LISTEN + "each(lambda one, client: (one.recv(8), one.sendall(client[0].encode()), one.recv(8), one.close()))"
FLOOD = (
    LISTEN
    + """
def serve(one, client):
    left, told = int(one.recv(16)), 0
    while left:
        left -= one.send(bytes(min(left, 65536)))
        if left >> 20 != told:  # a line for each MB
            told = left >> 20
            print(left, flush=True)
    one.close()
each(serve)
"""
)
RESET = (
    LISTEN
    + """
def serve(one, client):
    one.recv(1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
each(serve)
"""
)
LOST = (
    LISTEN
    + """
def serve(one, client):
    try:
        while one.recv(65536): pass
        print("end", flush=True)
    except ConnectionResetError:
        print("reset", flush=True)
each(serve)
"""
)
DEAF = """
import socket, time
sock = socket.create_server(("0.0.0.0", 81), backlog=1)
print("ready", flush=True)
time.sleep(1000)
"""
UDP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 53))
print("ready", flush=True)
while True:
    data, client = sock.recvfrom(65536)
    sock.sendto(data + b" to " + str(client[1]).encode(), client)
"""


def dialled(port: int, address: str = "127.0.0.1") -> socket.socket:
    sock = socket.create_connection((address, port), PATIENCE)
    sock.settimeout(PATIENCE)
    return sock


def all_of(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def asked(port: int, words: bytes = b"hello", address: str = "127.0.0.1") -> bytes:
    """Say something, end, and return all that comes back."""
    with dialled(port, address) as sock:
        sock.sendall(words)
        sock.shutdown(socket.SHUT_WR)
        return all_of(sock)


def answered(port: int) -> bytes:
    """The same, nothing where the port is not served now."""
    try:
        return asked(port)
    except OSError:
        return b""


def guardian_of(crate: Crate) -> int:
    """Return the guardian of the one relay that there is."""
    (file,) = (crate.state / "networks" / "relays").iterdir()
    return int(file.readlink().name.split()[0])


def relay_of(crate: Crate) -> int:
    """Return the relay, 0 in the moment in which there is none."""
    return next(iter(process.children(guardian_of(crate))), 0)


def memory_of(pid: int) -> int:
    """Return what a process has in memory, in kB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


@pytest.fixture
def echo(pasta_box: Ready) -> Iterator[tuple[Ready, int]]:
    """A container whose published port says what it hears."""
    port = free_port()
    with serving(pasta_box.crate, published(pasta_box, f"{port}:80"), ECHO):
        yield pasta_box, port


def test_it_costs_some_kilobytes_until_somebody_connects(echo: tuple[Ready, int], until: Until) -> None:
    box, port = echo
    until(lambda: relay_of(box.crate))
    relay = relay_of(box.crate)
    until(lambda: Path(f"/proc/{relay}/comm").read_text() == "crate-ports\n")
    until(lambda: Path(f"/proc/{guardian_of(box.crate)}/comm").read_text() == "crate-guardian\n")
    assert memory_of(relay) < 200
    assert memory_of(guardian_of(box.crate)) < 200
    assert asked(port) == b"hello"
    assert relay_of(box.crate) == relay
    assert memory_of(relay) > 2000


def test_ipv4_and_ipv6_lead_there(echo: tuple[Ready, int]) -> None:
    _box, port = echo
    addresses = ["127.0.0.1", own_address()] + (["::1"] if Path("/proc/net/if_inet6").exists() else [])
    assert [asked(port, address=one) for one in addresses] == [b"hello"] * len(addresses)


def test_who_has_said_all_still_hears_the_answer(pasta_box: Ready) -> None:
    port = free_port()
    with serving(pasta_box.crate, published(pasta_box, f"{port}:80"), COUNT):
        assert asked(port, bytes(5_000_000)) == b"5000000"


def test_much_goes_both_ways_at_once_and_arrives_whole(echo: tuple[Ready, int]) -> None:
    _box, port = echo
    sent = os.urandom(1 << 20) * 24
    with dialled(port) as sock:

        def say() -> None:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)

        saying = threading.Thread(target=say)
        saying.start()
        heard = all_of(sock)
        saying.join()
    assert hashlib.sha256(heard).digest() == hashlib.sha256(sent).digest()


def test_two_hundred_are_served_at_once(echo: tuple[Ready, int]) -> None:
    _box, port = echo
    with ExitStack() as opened:
        socks = [opened.enter_context(dialled(port)) for _ in range(200)]
        for number, sock in enumerate(socks):
            sock.sendall(b"%03d" % number)
        assert [sock.recv(3) for sock in socks] == [b"%03d" % number for number in range(200)]


def test_who_comes_when_all_places_are_taken_waits_until_others_have_gone(pasta_box: Ready) -> None:
    most, port = most_connections(640 - 5), free_port()
    box = replace(pasta_box, crate=pasta_box.crate.within((*pasta_box.crate.prefix, "/usr/bin/prlimit", "--nofile=640:640")))
    with serving(box.crate, published(box, f"{port}:80"), ECHO), ExitStack() as opened:
        socks = [opened.enter_context(dialled(port)) for _ in range(most + 20)]
        for sock in socks:
            sock.sendall(b"x")
        served = answering(socks, most)
        assert not select.select([sock for sock in socks if sock not in served], [], [], 1.0)[0]
        for sock in served[:20]:
            sock.close()
        late = [sock for sock in socks if sock not in served]
        assert len(answering(late, 20)) == 20


def answering(socks: list[socket.socket], count: int) -> list[socket.socket]:
    """Return those who have heard a byte, once they are so many."""
    served: list[socket.socket] = []
    while len(served) < count:
        ready = select.select([sock for sock in socks if sock not in served], [], [], PATIENCE)[0]
        assert ready, f"{len(served)} of {len(socks)} are served"
        for sock in ready:
            assert sock.recv(1) == b"x"
        served += ready
    assert len(served) == count
    return served


@pytest.mark.parametrize(("files", "most"), [(100, 1), (1024, 208), (1 << 20, 8192)])
def test_a_relay_leads_as_many_as_files_allow_and_no_more_than_some_thousands(files: int, most: int) -> None:
    assert most_connections(files) == most


def test_who_does_not_read_holds_back_who_writes(pasta_box: Ready) -> None:
    port = free_port()
    with serving(pasta_box.crate, published(pasta_box, f"{port}:80"), FLOOD) as server, dialled(port) as sock:
        assert server.stdout
        size = held_on_the_way()
        sock.sendall(b"%d" % size)
        sock.recv(1, socket.MSG_PEEK)
        assert 0 < _left_at(server.stdout.fileno()) < size
        assert sum(map(len, iter(lambda: sock.recv(1 << 20), b""))) == size  # it goes on once somebody reads


def _left_at(said: int) -> int:
    """Return how much the server has left when it says nothing more for a second."""
    import select

    text = b""
    while select.select([said], [], [], 1)[0]:
        text += os.read(said, 65536)
    return int(text.split()[-1])


def test_a_reset_by_the_container_is_a_reset_for_the_client(pasta_box: Ready) -> None:
    port = free_port()
    with serving(pasta_box.crate, published(pasta_box, f"{port}:80"), RESET), dialled(port) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_reset_by_the_client_is_a_reset_for_the_container(pasta_box: Ready) -> None:
    port = free_port()
    with serving(pasta_box.crate, published(pasta_box, f"{port}:80"), LOST) as server:
        with dialled(port) as sock:
            sock.sendall(b"x")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert server.stdout
        assert server.stdout.readline() == "reset\n"


def test_where_nobody_listens_in_the_container_the_client_is_told_at_once(pasta_box: Ready) -> None:
    port = free_port()
    published(pasta_box, f"{port}:80")
    with dialled(port) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_where_the_container_has_not_its_address_nobody_else_is_asked(echo: tuple[Ready, int]) -> None:
    """The way outside would lead there: to whoever has it in this machine's network."""
    box, port = echo
    pid = box.crate.ok("inspect", "-f", "{{.State.Pid}}", box.crate.ok("ps", "-q"))
    enter = ("nsenter", "-t", pid, "-n", *(() if os.geteuid() == 0 else ("-U", "--preserve-credentials")))
    subprocess.run([*enter, "ip", "address", "flush", "dev", "eth0"], check=True)
    with dialled(port) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_a_container_that_takes_no_connection_does_not_keep_others_waiting(pasta_box: Ready) -> None:
    port, other = free_port(), free_port()
    name = published(pasta_box, f"{port}:80", f"{other}:81")
    with serving(pasta_box.crate, name, ECHO), serving(pasta_box.crate, name, DEAF), ExitStack() as opened:
        waiting = [opened.enter_context(dialled(other)) for _ in range(50)]
        assert asked(port) == b"hello"
        pasta_box.crate.ok("rm", "-f", name)
        assert [_heard_of(sock) for sock in waiting] == [b""] * 50


def _heard_of(sock: socket.socket) -> bytes:
    """Return what comes; an end and a reset are the same."""
    try:
        return sock.recv(1)
    except ConnectionResetError:
        return b""


def test_the_end_of_a_container_ends_its_connections_and_its_relay(echo: tuple[Ready, int], until: Until) -> None:
    box, port = echo
    with dialled(port) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        box.crate.ok("rm", "-f", box.crate.ok("ps", "-q"))
        assert _heard_of(sock) == b""
    with pytest.raises(ConnectionRefusedError):
        dialled(port)
    until(lambda: not left_of(box.crate))
    assert not list((box.crate.state / "networks" / "relays").iterdir())


def test_a_relay_that_is_killed_is_there_again(echo: tuple[Ready, int], until: Until) -> None:
    box, port = echo
    until(lambda: relay_of(box.crate))
    for _ in range(3):  # asleep the first time, and each time by the same guardian
        guardian, before = guardian_of(box.crate), relay_of(box.crate)
        os.kill(before, signal.SIGKILL)
        assert asked(port) == b"hello"  # nobody is refused: the listening sockets are the guardian's as well
        until(lambda before=before: relay_of(box.crate) not in {0, before})
        assert guardian_of(box.crate) == guardian


def test_where_its_guardian_is_killed_too_both_are_there_again(echo: tuple[Ready, int], until: Until) -> None:
    box, port = echo
    for _ in range(2):
        guardian = guardian_of(box.crate)
        os.kill(guardian, signal.SIGKILL)  # it takes the relay along
        until(lambda guardian=guardian: _begun_after(box.crate, guardian))
        assert asked(port) == b"hello"


def _begun_after(crate: Crate, guardian: int) -> bool:
    """Tell whether there is a relay with another guardian."""
    try:
        return guardian_of(crate) != guardian and relay_of(crate) != 0
    except (OSError, ValueError):
        return False


def test_ports_follow_to_the_next_network(pasta_box: Ready) -> None:
    crate, port = pasta_box.crate, free_port()
    for name in ("one", "two"):
        crate.ok("network", "create", name)
    web = published(pasta_box, f"{port}:80", network=("--network", "one", "--network", "two"))
    with serving(crate, web, WHO):
        for left in ("one", "two"):
            settings = crate.json("inspect", web)[0]["NetworkSettings"]["Networks"]  # type: ignore[index]
            assert asked(port).decode() == settings[left]["IPAddress"]
            crate.ok("network", "disconnect", left, web)
        with pytest.raises(ConnectionRefusedError):
            dialled(port)
        crate.ok("network", "connect", "one", web)
        assert asked(port)


def test_a_container_sees_its_own_address_as_its_client(pasta_box: Ready) -> None:
    port = free_port()
    name = published(pasta_box, f"{port}:80")
    with serving(pasta_box.crate, name, WHO):
        own = pasta_box.crate.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
        assert asked(port).decode() == asked(port, address=own_address()).decode() == own


def test_a_user_can_have_clients_addresses_kept(pasta_box: Ready) -> None:
    crate, port, address = pasta_box.crate, free_port(), own_address()
    settings = crate.directory / "settings.toml"
    settings.write_text("[networks]\nkeep_client_addresses = true\n")
    box = Ready(crate.within((*crate.prefix, "/usr/bin/env", f"CRATE_CONFIG={settings}")), pasta_box.image)
    with serving(box.crate, published(box, f"{port}:80"), WHO):
        for one in ("127.0.0.1", address):
            with dialled(port, one) as sock:
                sock.send(b"?")
                assert sock.recv(64).decode() == one
    assert not (box.crate.state / "networks" / "relays").exists()


def test_addresses_are_kept_by_pasta_alone(out_box: Ready) -> None:
    settings = out_box.crate.directory / "settings.toml"
    settings.write_text('[networks]\nkeep_client_addresses = "yes"\n')
    box = Ready(out_box.crate.within((*out_box.crate.prefix, "/usr/bin/env", f"CRATE_CONFIG={settings}")), out_box.image)
    words = ("--network", "bridge", "-p", f"{free_port()}:80", "@", "true")
    assert "[networks] keep_client_addresses is not true or false" in box.fails(*words)
    settings.write_text("[networks]\nkeep_client_addresses = true\n")
    if (out_box.crate.directory.parent / "programs" / "slirp4netns").exists():
        assert "so that clients' addresses are kept: slirp4netns does not do it" in box.fails(*words)
    else:
        box.run(*words)


def test_udp_is_answered_from_the_address_that_was_asked(out_box: Ready) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with serving(out_box.crate, published(out_box, f"{port}:53/udp"), UDP), ExitStack() as opened:
        answers = []
        for address in ("127.0.0.1", "127.0.0.7", own_address(), "127.0.0.1"):
            sock = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.settimeout(PATIENCE)
            sock.connect((address, port))  # nothing from elsewhere is heard
            sock.send(address.encode())
            answers.append(sock.recv(64).split(b" to "))
        assert [text for text, _ in answers] == [b"127.0.0.1", b"127.0.0.7", own_address().encode(), b"127.0.0.1"]
        assert len({inside for _, inside in answers}) == 4  # each client is a client of the container's as well


def test_a_port_at_one_address_is_had_there_alone(pasta_box: Ready) -> None:
    port = free_port()
    with serving(pasta_box.crate, published(pasta_box, f"127.0.0.2:{port}:80", f"127.0.0.3:{port}:80"), ECHO):
        assert [asked(port, address=one) for one in ("127.0.0.2", "127.0.0.3")] == [b"hello"] * 2
        with pytest.raises(ConnectionRefusedError):
            dialled(port, "127.0.0.1")
