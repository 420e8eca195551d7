"""Names that are no container's: asked of the host's resolvers, or of those that a container names, and whose answers count."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cratebox.network.dns_forward import Servers, family_of
from support.dns import (
    RESOLVER,
    Upstream,
    answering,
    ask,
    ask_by_stream,
    exchange,
    exchange_by_stream,
    own_address,
    question,
    read,
)
from support.resolving import Rig, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOERROR, _, SERVFAIL, NXDOMAIN, _, REFUSED = range(6)
HERE = "192.0.2.1"  # TEST-NET-1


@pytest.fixture
def web(rig: Rig) -> Rig:
    """`web`, on a network with a way outside, and `lone`, on an internal one."""
    front, back = rig.network("front"), rig.network("back", internal=True)
    rig.lease("web", "web", endpoint(front, "front", "10.1.0.2"), endpoint(back, "back", "10.2.0.2"))
    rig.lease("lone", "lone", endpoint(back, "back", "10.2.0.3"))
    rig.attach("web")
    rig.attach("lone")
    return rig


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(lambda message, _: [answering(message, HERE)]) as made:
        yield made


def use(rig: Rig, *servers: str) -> None:
    rig.resolv_conf.write_text("search example.com\n" + "".join(f"nameserver {one}\n" for one in servers) + "options ndots:1\n")


def test_what_is_no_containers_is_asked_of_the_hosts_resolver(web: Rig, upstream: Upstream) -> None:
    use(web, upstream.address)
    found = web.namespaces["web"].call(ask, "Example.COM")
    assert (found.number, found.values) == (7, [HERE])
    assert b"\x07Example\x03COM\0" in upstream.heard[0]
    assert web.namespaces["web"].call(ask, "lone").values == ["10.2.0.3"]
    assert web.namespaces["web"].call(ask, "lone", 28).values == []
    assert len(upstream.heard) == 1  # ours is nobody's business


def test_edns_and_everything_else_of_a_question_and_an_answer_is_passed_on_as_it_is(web: Rig, upstream: Upstream) -> None:
    use(web, upstream.address)
    asked = question("example.com", 65, edns=1400, flags=0x120, number=0x1234)  # AD, type HTTPS
    said = web.namespaces["web"].call(exchange, asked)
    assert upstream.heard[0][2:] == asked[2:]
    assert said == answering(asked, HERE)


def test_numbers_and_ports_of_what_is_passed_on_cannot_be_guessed(web: Rig, upstream: Upstream) -> None:
    use(web, upstream.address)
    for n in range(20):
        assert web.namespaces["web"].call(ask, f"n{n}.example").values == [HERE]
    assert len({message[:2] for message in upstream.heard}) > 15
    assert len({port for _, port in upstream.senders}) > 15


def test_one_who_asks_by_tcp_is_passed_on_by_tcp(web: Rig) -> None:
    def reply(message: bytes, stream: bool) -> list[bytes]:
        return [answering(message, *[HERE] * 200)] if stream else [answering(message, cut=True)]

    with Upstream(reply) as server:
        use(web, server.address)
        assert web.namespaces["web"].call(ask, "large.example").is_cut
        assert len(web.namespaces["web"].call(ask_by_stream, "large.example").values) == 200


def test_a_server_that_is_not_there_or_fails_is_passed_over_at_once(web: Rig, upstream: Upstream) -> None:
    with Upstream(lambda message, _: [answering(message, code=SERVFAIL)]) as failing:
        use(web, "127.254.254.254", failing.address, upstream.address)
        for how in (ask, ask_by_stream):
            found = web.namespaces["web"].call(how, "example.com")
            assert (found.code, found.values) == (NOERROR, [HERE])


def test_a_silent_server_is_not_waited_for_until_the_asker_gives_up(web: Rig, upstream: Upstream) -> None:
    with Upstream(lambda _message, _: []) as silent:
        use(web, silent.address, upstream.address)
        assert web.namespaces["web"].call(exchange, question("example.com"), RESOLVER, 5)[3] & 15 == NOERROR
        assert len(silent.heard) == 1


def test_a_lost_question_is_asked_again(web: Rig) -> None:
    heard = []

    def reply(message: bytes, _: bool) -> list[bytes]:
        heard.append(message)
        return [answering(message, HERE)] if len(heard) > 1 else []

    with Upstream(reply) as server:
        use(web, server.address)
        assert read(web.namespaces["web"].call(exchange, question("example.com"), RESOLVER, 5)).values == [HERE]


def test_where_all_fail_that_is_said_with_what_they_say(web: Rig) -> None:
    with Upstream(lambda message, _: [answering(message, code=REFUSED)]) as refusing:
        use(web, refusing.address)
        assert web.namespaces["web"].call(ask, "example.com").code == REFUSED
    with Upstream(lambda _message, _: []) as silent:
        use(web, silent.address)
        wait_a_second()
        assert web.namespaces["web"].call(exchange, question("example.com"), RESOLVER, 5)[3] & 15 == SERVFAIL
    use(web)
    wait_a_second()
    assert web.namespaces["web"].call(ask, "example.com").code == SERVFAIL


def wait_a_second() -> None:
    """A resolv.conf is looked at again every second."""
    time.sleep(1.1)


def test_a_name_that_is_not_there_is_not_asked_of_another_server(web: Rig, upstream: Upstream) -> None:
    with Upstream(lambda message, _: [answering(message, code=NXDOMAIN)]) as knowing:
        use(web, knowing.address, upstream.address)
        assert web.namespaces["web"].call(ask, "example.com").code == NXDOMAIN
        assert not upstream.heard


def test_answers_that_are_forged_do_not_count(web: Rig) -> None:
    def reply(message: bytes, _: bool) -> list[bytes]:
        other = (int.from_bytes(message[:2], "big") ^ 1).to_bytes(2, "big")
        return [
            b"",
            message,  # no answer
            message[:12],
            other + answering(message, "192.0.2.66")[2:],
            answering(question("other.example", number=int.from_bytes(message[:2], "big")), "192.0.2.66"),
            answering(message, HERE),
        ]

    with Upstream(reply) as server:
        use(web, server.address)
        assert web.namespaces["web"].call(ask, "example.com").values == [HERE]


def test_what_another_one_than_who_was_asked_says_does_not_count(web: Rig) -> None:
    forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def reply(message: bytes, _: bool) -> list[bytes]:
        forger.sendto(answering(message, "192.0.2.66"), server.senders[-1])
        return [answering(message, HERE)]

    with forger, Upstream(reply) as server:
        use(web, server.address)
        assert web.namespaces["web"].call(ask, "example.com").values == [HERE]


def test_who_is_on_internal_networks_alone_hears_of_nobody_outside(web: Rig, upstream: Upstream) -> None:
    use(web, upstream.address)
    lone = web.namespaces["lone"]
    assert lone.call(ask, "example.com").code == NXDOMAIN
    assert lone.call(ask_by_stream, "secret.of.mine.example.com").code == NXDOMAIN
    assert lone.call(ask, "web").values == ["10.2.0.2"]
    assert not upstream.heard


def test_addresses_of_ones_networks_are_nobody_elses_business(web: Rig, upstream: Upstream) -> None:
    use(web, upstream.address)
    assert web.namespaces["web"].call(ask, "77.0.1.10.in-addr.arpa", 12).code == NXDOMAIN
    assert not upstream.heard
    web.namespaces["web"].call(ask, "8.8.8.8.in-addr.arpa", 12)
    assert len(upstream.heard) == 1


def test_a_container_with_servers_of_its_own_asks_them_from_where_it_is(web: Rig, upstream: Upstream) -> None:
    use(web, upstream.address)
    front = web.reservations["web"].endpoints[0].network
    web.lease("own", "own", endpoint(front, "front", "10.1.0.5"), upstreams=("127.9.9.9",))
    own = web.attach("own")

    def serve_and_ask() -> list[list[str]]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket() as listening:
            sock.bind(("127.9.9.9", 53))  # of the namespace, not of the machine
            listening.bind(("127.9.9.9", 53))
            listening.listen()

            def serve() -> None:
                message, sender = sock.recvfrom(65535)
                sock.sendto(answering(message, "192.0.2.7"), sender)
                with listening.accept()[0] as stream:
                    message = stream.recv(65535)[2:]
                    said = answering(message, "192.0.2.8")
                    stream.sendall(struct.pack(">H", len(said)) + said)

            thread = threading.Thread(target=serve)
            thread.start()
            found = [ask("example.com").values, ask_by_stream("example.com").values, ask("web").values]
            thread.join()
            return found

    assert own.call(serve_and_ask) == [["192.0.2.7"], ["192.0.2.8"], ["10.1.0.2"]]
    assert not upstream.heard


def test_who_names_the_resolver_itself_as_his_server_makes_no_circle(web: Rig) -> None:
    front = web.reservations["web"].endpoints[0].network
    web.lease("round", "round", endpoint(front, "front", "10.1.0.6"), upstreams=(RESOLVER[0],))
    assert web.attach("round").call(ask, "example.com").code == SERVFAIL


def test_one_who_asks_too_much_is_told_so_and_the_others_are_served(web: Rig) -> None:
    with Upstream(lambda _message, _: []) as silent:
        use(web, silent.address)

        def flood() -> int:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(3)
                sock.connect(RESOLVER)
                for n in range(200):
                    sock.send(question(f"n{n}.example", number=n))
                refused = 0
                while refused < 200 - 128:
                    refused += sock.recv(65535)[3] & 15 == SERVFAIL
                return refused

        assert web.namespaces["web"].call(flood) == 72
        assert web.namespaces["lone"].call(ask, "web").values == ["10.2.0.2"]
        assert len(silent.heard) <= 128 * 3


def test_a_question_that_is_repeated_is_passed_on_once(web: Rig) -> None:
    held: list[bytes] = []

    def reply(message: bytes, _: bool) -> list[bytes]:
        held.append(message)
        if len(held) < 2:
            return []
        return [answering(message, HERE)]

    with Upstream(reply) as server:
        use(web, server.address)

        def insist() -> tuple[list[str], bool]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.connect(RESOLVER)
                for _ in range(10):
                    sock.send(question("example.com"))
                values = read(sock.recv(65535)).values
                sock.settimeout(0.3)
                try:
                    return values, bool(sock.recv(65535))
                except TimeoutError:
                    return values, False

        assert web.namespaces["web"].call(insist) == ([HERE], False)
        assert len(held) == 2


def test_a_stream_that_is_answered_in_pieces_is_put_together(web: Rig) -> None:
    with socket.socket() as listening:
        listening.bind((own_address(), 53))
        listening.listen()
        use(web, listening.getsockname()[0])

        def serve() -> None:
            with listening.accept()[0] as sock:
                message = sock.recv(65535)[2:]
                said = answering(message, *[HERE] * 30)
                for byte in struct.pack(">H", len(said)) + said:
                    sock.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        said = web.namespaces["web"].call(exchange_by_stream, question("example.com"))
        thread.join()
        assert read(said).values == [HERE] * 30


def test_the_servers_of_a_resolv_conf(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert Servers(str(file)).addresses() == ()
    file.write_text(
        "# nameserver 1.1.1.1\nnameserver\nnameserver host.example\nnameserver\t192.0.2.1 # one\nnameserver fe80::1%eth0\n"
        "nameserver 2001:db8::1\nnameserver 192.0.2.4\n"
    )
    assert Servers(str(file)).addresses() == ("192.0.2.1", "fe80::1%eth0", "2001:db8::1")
    assert [family_of(one) for one in ("192.0.2.1", "fe80::1%eth0", "x", "")] == [socket.AF_INET, socket.AF_INET6, 0, 0]
