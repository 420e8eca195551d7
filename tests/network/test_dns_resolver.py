"""The resolver in network namespaces: what is answered to whom, and what becomes of it when processes end or are killed."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cratebox.network import dns, dns_asker, dns_place, dns_server
from cratebox.network import dns_message as message
from cratebox.network.dns_names import Names
from cratebox.network.loop import Loop
from cratebox.network.model import Network, Reservation
from support.dns import AAAA, PTR, ask, ask_by_stream, exchange, exchange_by_stream, question, read, received
from support.resolving import Rig, endpoint, wait_for

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
OWNER = "0123456789abcdef" * 4


@pytest.fixture
def two(rig: Rig) -> Rig:
    """`web` and `db` on the internal network `back`."""
    back = rig.network("back", internal=True)
    rig.lease(OWNER, "web", endpoint(back, "back", "10.1.0.2", "fd00::2", aliases=("www", "Api.Example")))
    rig.lease("db-owner", "db", endpoint(back, "back", "10.1.0.3"))
    rig.attach(OWNER)
    rig.attach("db-owner")
    return rig


@pytest.mark.parametrize("name", ["web", "WEB", "www", "api.example", "API.Example", OWNER[:12], "web.back", "www.back"])
def test_every_name_of_a_container_is_answered(two: Rig, name: str) -> None:
    found = two.namespaces["db-owner"].call(ask, name)
    assert (found.code, found.values) == (NOERROR, ["10.1.0.2"])
    assert two.namespaces["db-owner"].call(ask, name, AAAA).values == ["fd00::2"]


def test_a_name_without_such_an_address_has_no_data_and_is_there(two: Rig) -> None:
    for kind in (AAAA, 15, 16):  # MX, TXT
        found = two.namespaces[OWNER].call(ask, "db", kind)
        assert (found.code, found.values) == (NOERROR, [])


def test_a_name_that_nobody_has_is_not_there(two: Rig) -> None:
    for name in ("nobody", OWNER[:13], OWNER[:11], "db.other", "back", "x.web", ""):
        assert two.namespaces[OWNER].call(ask, name).code == NXDOMAIN


def test_an_address_has_the_name_that_people_use(two: Rig) -> None:
    db = two.namespaces["db-owner"]
    assert db.call(ask, "2.0.1.10.in-addr.arpa", PTR).values == ["web.back"]
    assert db.call(ask, "2." + "0." * 27 + "0.0.d.f.ip6.arpa", PTR).values == ["web.back"]
    assert db.call(ask, "9.0.1.10.in-addr.arpa", PTR).code == NXDOMAIN


def test_one_who_asks_by_tcp_is_answered_by_tcp(two: Rig) -> None:
    assert two.namespaces["db-owner"].call(ask_by_stream, "web").values == ["10.1.0.2"]


def test_a_container_may_have_a_server_of_its_own_on_port_53(two: Rig) -> None:
    def own_server() -> list[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("0.0.0.0", 53))
            tcp.bind(("0.0.0.0", 53))
            tcp.listen()
            return ask("db").values + ask_by_stream("db").values

    assert two.namespaces[OWNER].call(own_server) == ["10.1.0.3", "10.1.0.3"]


def test_who_is_on_another_network_is_not_seen(two: Rig) -> None:
    front = two.network("front", internal=True)
    two.lease("other", "other", endpoint(front, "front", "10.1.0.4"))
    other = two.attach("other")
    assert other.call(ask, "web").code == NXDOMAIN
    assert two.namespaces[OWNER].call(ask, "other").code == NXDOMAIN
    assert other.call(ask, "2.0.1.10.in-addr.arpa", PTR).code == NXDOMAIN


def test_a_connection_a_disconnection_and_a_new_name_are_seen_by_the_next_question(two: Rig) -> None:
    front = two.network("front", internal=True)
    two.lease("other", "other", endpoint(front, "front", "10.1.0.4"))
    other, back = two.attach("other"), two.reservations["db-owner"].endpoints[0].network
    for _ in range(20):  # an answer of before would be wrong
        assert other.call(ask, "db").code == NXDOMAIN
        two.lease("other", "other", endpoint(front, "front", "10.1.0.4"), endpoint(back, "back", "10.1.0.5"))
        assert other.call(ask, "db").values == ["10.1.0.3"]
        two.lease("db-owner", "store", endpoint(back, "back", "10.1.0.3"))
        assert other.call(ask, "db").code == NXDOMAIN
        assert other.call(ask, "store").values == ["10.1.0.3"]
        two.lease("db-owner", "db", endpoint(back, "back", "10.1.0.3"))
        two.lease("other", "other", endpoint(front, "front", "10.1.0.4"))


def test_the_first_of_ones_own_networks_is_the_one_that_answers(two: Rig) -> None:
    back, front = two.network("back", internal=True), two.network("front", internal=True)
    two.lease("one", "twin", endpoint(front, "front", "10.1.0.8"))
    two.lease("two", "twin", endpoint(back, "back", "10.1.0.9"), endpoint(front, "front", "10.1.0.10", "fd00::10"))
    two.lease("asker", "asker", endpoint(back, "back", "10.1.0.7"), endpoint(front, "front", "10.1.0.7"))
    asker = two.attach("asker")
    assert asker.call(ask, "twin").values == ["10.1.0.9"]
    assert sorted(asker.call(ask, "twin.front").values) == ["10.1.0.10", "10.1.0.8"]
    assert asker.call(ask, "twin", AAAA).values == ["fd00::10"]  # the first has none of these


def test_the_default_network_has_no_names(two: Rig) -> None:
    bridge, back = two.network("bridge", names=False, internal=True), two.reservations["db-owner"].endpoints[0].network
    two.lease("plain", "plain", endpoint(bridge, "bridge", "10.1.0.8"))
    two.lease("both", "both", endpoint(bridge, "bridge", "10.1.0.9"), endpoint(back, "back", "10.1.0.10"))
    both = two.attach("both")
    assert both.call(ask, "plain").code == NXDOMAIN
    assert both.call(ask, "both").values == ["10.1.0.10"]


def many(number: int) -> list[list[str]]:
    return [ask("many").values for _ in range(number)]


def test_those_of_one_name_are_first_in_turn(two: Rig) -> None:
    back = two.reservations["db-owner"].endpoints[0].network
    for n in range(4):
        two.lease(f"m{n}", f"m{n}", endpoint(back, "back", f"10.1.0.{20 + n}", aliases=("many",)))
    answers = two.namespaces[OWNER].call(many, 8)
    assert {tuple(sorted(one)) for one in answers} == {tuple(f"10.1.0.{20 + n}" for n in range(4))}
    assert len({one[0] for one in answers}) == 4


def test_an_answer_that_is_too_long_for_a_datagram_says_so_and_comes_by_tcp(two: Rig) -> None:
    back = two.reservations["db-owner"].endpoints[0].network
    for n in range(100):
        two.reservations[f"m{n}"] = two.reservations[OWNER].replace(
            owner=f"m{n}", label=f"m{n}", endpoints=(endpoint(back, "back", f"10.1.0.{n + 100}", aliases=("many",)),)
        )
    two.write()
    web = two.namespaces[OWNER]
    plain = web.call(exchange, question("many"))
    assert len(plain) <= 512
    assert read(plain).is_cut
    assert 0 < len(read(plain).values) < 100
    larger = web.call(exchange, question("many", edns=4096))
    assert 512 < len(larger) <= 1232
    assert read(larger).is_cut
    whole = web.call(ask_by_stream, "many")
    assert not whole.is_cut
    assert len(whole.values) == 100


def test_one_whose_process_has_ended_has_no_name_any_more(two: Rig) -> None:
    assert two.namespaces["db-owner"].call(ask, "web").values == ["10.1.0.2"]
    two.end(OWNER)  # nobody takes the lease away
    wait_for(lambda: two.namespaces["db-owner"].call(ask, "web").code == NXDOMAIN)
    two.attach(OWNER)  # it is started again, with the same lease
    assert two.namespaces["db-owner"].call(ask, "web").values == ["10.1.0.2"]


def test_a_namespace_that_is_no_longer_used_is_let_go(two: Rig) -> None:
    resolver = two.resolvers[-1]
    assert [two.namespaces[one].call(ask, "db").code for one in two.namespaces] == [NOERROR, NOERROR]
    before = len(os.listdir(f"/proc/{resolver}/fd"))
    for _ in range(3):
        two.lease("short", "short", endpoint(two.reservations[OWNER].endpoints[0].network, "back", "10.1.0.9"))
        two.attach("short").call(ask, "web")
        two.end("short")
    wait_for(lambda: len(os.listdir(f"/proc/{resolver}/fd")) == before)
    assert sorted(dns_place.written(two.place)) == sorted([OWNER, "db-owner"])


def patient(name: str) -> list[str]:
    """Ask again where no answer comes, as everybody does (resolv.conf(5), attempts)."""
    for _ in range(40):
        try:
            return read(exchange(question(name), timeout=0.25)).values
        except OSError:
            pass
    raise TimeoutError


def test_a_killed_resolver_is_replaced_by_whoever_comes_next(two: Rig) -> None:
    two.kill_resolver()
    with pytest.raises(OSError):  # the sockets are gone
        two.namespaces[OWNER].call(exchange, question("db"), ("127.0.0.11", 53), 0.2)
    dns.heal(two.place)
    assert len(two.resolvers) == 1
    assert two.namespaces[OWNER].call(patient, "db") == ["10.1.0.3"]
    assert two.namespaces["db-owner"].call(ask_by_stream, "web").values == ["10.1.0.2"]
    dns.heal(two.place)
    assert len(two.resolvers) == 1
    two.kill_resolver()
    two.lease("new", "new", endpoint(two.reservations[OWNER].endpoints[0].network, "back", "10.1.0.9"))
    assert two.attach("new").call(ask, "db").values == ["10.1.0.3"]
    assert two.namespaces[OWNER].call(patient, "new") == ["10.1.0.9"]


def test_where_nobody_is_left_there_is_no_resolver_and_none_is_started(two: Rig) -> None:
    resolver = two.resolvers.pop()
    for owner in (OWNER, "db-owner"):
        two.end(owner)
    wait_for(lambda: os.waitpid(resolver, os.WNOHANG) == (resolver, 0))
    assert sorted(os.listdir(dns_place.directory(two.place))) == ["lock"]
    dns.heal(two.place)
    assert not two.resolvers
    assert two.attach(OWNER).call(ask, "www").values == ["10.1.0.2"]


def test_a_resolver_whose_directory_was_deleted_does_not_shut_the_door_of_the_next_one(two: Rig) -> None:
    first = two.resolvers.pop()
    shutil.rmtree(dns_place.directory(two.place))
    back = two.reservations[OWNER].endpoints[0].network
    two.lease("new", "new", endpoint(back, "back", "10.1.0.9"))
    new = two.attach("new")
    assert len(two.resolvers) == 1
    assert two.namespaces[OWNER].call(ask, "new").values == ["10.1.0.9"]  # of the first
    assert new.call(ask, "db").values == ["10.1.0.3"]  # of the second
    for owner in (OWNER, "db-owner"):
        two.end(owner)
    wait_for(lambda: os.waitpid(first, os.WNOHANG) == (first, 0))
    two.attach("db-owner")
    assert len(two.resolvers) == 1
    assert new.call(ask, "db").values == ["10.1.0.3"]


def test_who_comes_while_the_last_one_goes_is_answered(two: Rig) -> None:
    back = two.reservations[OWNER].endpoints[0].network
    two.end("db-owner")
    for n in range(12):  # around the moment in which the resolver would end
        two.lease(f"n{n}", f"n{n}", endpoint(back, "back", "10.1.0.9"))
        namespace = two.attach(f"n{n}")
        assert namespace.call(ask, f"n{n}").values == ["10.1.0.9"]
        two.end(f"n{n}")


def test_packets_that_are_none_do_no_harm(two: Rig) -> None:
    def hostile() -> list[bytes]:
        answers = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.connect(("127.0.0.11", 53))
            for junk in (b"", b"x", bytes(11), bytes(5000), bytes(12)[:2] + b"\x80" + bytes(9), question("db", flags=0x8180)):
                sock.send(junk)  # none of them is answered
            for message in (
                bytes(12),
                question("db")[:18],
                struct.pack(">HHHHHH", 1, 0x2800, 1, 0, 0, 0) + question("db")[12:],  # an update
                question("db", 252),  # a transfer of the zone
                question("db", klass=3),
                question("db"),
            ):
                sock.send(message)
                answers.append(sock.recv(65535))
        return answers

    answers = two.namespaces[OWNER].call(hostile)
    assert [one[3] & 15 for one in answers] == [FORMERR, FORMERR, NOTIMP, REFUSED, REFUSED, NOERROR]
    assert [len(one) for one in answers][:2] == [12, 12]


def test_streams_are_bounded(two: Rig) -> None:
    def streams() -> tuple[int, list[str]]:
        opened = [socket.create_connection(("127.0.0.11", 53), 10) for _ in range(80)]
        values = ask("db").values  # the others are not disturbed
        alive = 0
        for sock in opened:
            try:
                sock.sendall(struct.pack(">H", len(question("db"))) + question("db"))
                alive += bool(received(sock))
            except OSError:
                pass
        for sock in opened:  # not before: another one would be let in
            sock.close()
        return alive, values

    alive, values = two.namespaces[OWNER].call(streams)
    assert values == ["10.1.0.3"]
    assert alive == 32
    assert two.namespaces[OWNER].call(ask_by_stream, "db").values == ["10.1.0.3"]  # they were closed


class Echo:
    """Whose streams' questions are answered with what they are."""

    def refresh(self) -> None:
        pass

    def ask(self, message: bytes, _sender: object, reply: Callable[[bytes], object], *, stream: bool) -> None:
        assert stream
        reply(message)


def test_who_asks_on_and_on_by_one_stream_costs_no_more_and_who_falls_silent_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dns_asker, "_IDLE", 0.3)
    loop, gone = Loop(), []
    theirs, ours = socket.socketpair()
    with theirs:
        dns_asker.Stream(Echo(), loop, ours, gone.append)
        begun = time.monotonic()
        while time.monotonic() < begun + 0.6:
            theirs.send(b"\0\1x" * 10)
            loop.turn()
            assert theirs.recv(4096)
            assert len(loop._moments) <= 1
        assert not gone
        while not gone:
            loop.turn()
        assert theirs.recv(1) == b""


def test_questions_in_a_row_in_pieces_and_with_an_end_behind_them_are_answered(two: Rig) -> None:
    def pieces() -> list[list[str]]:
        with socket.create_connection(("127.0.0.11", 53), 10) as sock:
            framed = b"".join(struct.pack(">H", len(question(n))) + question(n) for n in ("db", "web", "nobody"))
            for at in range(len(framed)):
                sock.send(framed[at : at + 1])
            sock.shutdown(socket.SHUT_WR)
            answers = [read(received(sock)).values for _ in range(3)]
            assert sock.recv(1) == b""
            return answers

    assert two.namespaces[OWNER].call(pieces) == [["10.1.0.3"], ["10.1.0.2"], []]


def test_who_announces_more_than_a_question_can_have_is_hung_up_on(two: Rig) -> None:
    def boast() -> bytes:
        with socket.create_connection(("127.0.0.11", 53), 10) as sock:
            sock.sendall(b"\xff\xff" + bytes(100))
            try:
                return sock.recv(10)
            except ConnectionResetError:
                return b""

    assert two.namespaces[OWNER].call(boast) == b""
    assert two.namespaces[OWNER].call(exchange_by_stream, question("db"))[3] & 15 == NOERROR


def test_leases_that_cannot_be_read_for_a_moment_are_read_with_the_next_question(tmp_path: Path) -> None:
    leases, broken = tmp_path / "leases", [True]
    leases.touch()
    network = Network("n" * 64, "back", "br", (), internal=True)
    web = Reservation("web", "web", (endpoint(network.id, "back", "10.1.0.2"),))

    def read_leases() -> tuple[Reservation, ...]:
        if broken:
            raise OSError(errno.EMFILE, "too many open files")
        return (web,)

    names = Names(str(leases), read_leases, lambda _: network)
    asked = message.read(question("web"))
    assert asked
    names.refresh()
    assert names.view("web").find(asked) is None
    broken.clear()
    names.refresh()
    names.read()
    assert names.view("web").find(asked)
    broken.append(True)
    leases.write_text("other")
    names.refresh()
    assert names.view("web").find(asked)  # what was known


@pytest.mark.parametrize(("seconds", "ended"), [(0.0, False), (0.2, True)])
def test_a_resolver_that_fails_is_started_again_where_it_had_begun_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, ended: bool
) -> None:
    class Failing:
        def run(self) -> None:
            time.sleep(seconds)
            raise ZeroDivisionError

    monkeypatch.setattr(dns_server, "_SHORT_LIFE", 0.1)
    monkeypatch.setattr(dns_server, "_divide", lambda *_: None)
    monkeypatch.setattr(dns_server, "_resolver_of", lambda *_: Failing())
    child = os.fork()
    if child == 0:
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                dns_server.main([str(tmp_path), str(tmp_path), "rootful", str(listening.detach())])
        finally:
            os._exit(3)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) is ended  # which is what a guardian starts the next one for
    assert ended or os.WEXITSTATUS(status) == 3
