"""The short way to ask what a name stands for: the same outcome as the long one, or none and the long one is gone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_registry as fake
import pytest
from clients import IMAGE, SECRET, login
from failing_proxy import FailingProxy
from fake_registry import FakeRegistry
from pulls import fetch as pull
from pulls import new_store

from cratebox.errors import CrateError, NotAllowed, RegistryError
from cratebox.image import greeting, reference, short
from cratebox.image.origin import parse_url
from cratebox.image.registries_conf import Mirror, Namespace
from cratebox.image.registry import Registry
from cratebox.image.settings import Settings
from cratebox.image.store import Store

PLAIN = Settings(certificates=())


def named(server: FakeRegistry, name: str = "a/b:t") -> reference.Reference:
    return reference.parse(f"{server.address}/{name}")


def ask(server: FakeRegistry, settings: Settings = PLAIN) -> str | None:
    return short.head(named(server), settings)


def ask_long(server: FakeRegistry, settings: Settings = PLAIN) -> str | None:
    client = Registry(named(server), settings)
    try:
        return client.head()
    finally:
        client.close()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the short way connects to."""
    made: list[str] = []

    def connect(origin: Any, seconds: float) -> Any:
        made.append(origin.authority)
        return greeting.connect(origin, seconds)

    monkeypatch.setattr(short, "connect", connect)
    return made


# Where it does


@pytest.mark.parametrize("bearer", [None, "own"])
def test_a_refused_password_is_not_sent_again(server: FakeRegistry, home: Path, tmp_path: Path, bearer: str | None) -> None:
    """Some registries lock an account after a few of them. The words are those of the long way."""
    store = new_store(tmp_path)
    pull(store, str(named(server)))
    server.login, server.bearer = "name:other", bearer
    login(home, server)
    with pytest.raises(RegistryError) as long:
        ask_long(server)
    server.seen.clear()
    with pytest.raises(RegistryError) as short_:
        pull(store, str(named(server)))
    assert (short_.value.message, short_.value.hint) == (long.value.message, long.value.hint)
    assert [seen.headers.get("authorization") for seen in server.seen].count(fake.basic(SECRET)) == 1


def test_it_tells_the_digest(server: FakeRegistry) -> None:
    assert ask(server) == ask_long(server) == IMAGE.digest
    assert [seen.method for seen in server.seen] == ["HEAD", "HEAD"]


def test_it_asks_as_the_long_way_does(server: FakeRegistry, home: Path) -> None:
    server.login = SECRET
    login(home, server)
    ask(server)
    ask_long(server)
    half = len(server.seen) // 2
    assert half == 2
    for one, other in zip(server.seen[:half], server.seen[half:], strict=True):
        assert (one.method, one.path) == (other.method, other.path)
        assert one.headers == other.headers


def test_it_answers_a_challenge_on_the_same_connection(server: FakeRegistry, home: Path, connections: list[str]) -> None:
    server.login = SECRET
    login(home, server)
    assert ask(server) == IMAGE.digest
    assert connections == [server.address]


def test_it_gets_a_token_elsewhere(server: FakeRegistry, other: FakeRegistry, home: Path, connections: list[str]) -> None:
    server.bearer = other.url + "/token?a=b"
    server.login = other.login = SECRET
    login(home, server)
    assert ask(server) == IMAGE.digest
    assert connections == [server.address, other.address]
    [asked] = other.seen
    assert asked.path.startswith("/token?a=b&service=the+registry&scope=repository%3Aa%2Fb%3Apull")
    assert asked.headers["authorization"] == fake.basic(SECRET)
    assert [seen.headers.get("authorization") for seen in server.seen] == [None, "Bearer t0ken"]


@pytest.mark.parametrize("way", [fake.without_length, lambda: fake.header(Connection="close")])
def test_a_token_may_come_without_a_length(server: FakeRegistry, way: Callable[[], fake.Fault]) -> None:
    server.bearer = "own"
    server.fault("/token", way())
    assert ask(server) == IMAGE.digest


def test_a_registry_that_hangs_up_after_each_answer_is_asked_anew(
    server: FakeRegistry, home: Path, connections: list[str]
) -> None:
    server.login = SECRET
    login(home, server)

    def close(handler: fake.Handler, answer: fake.Answer) -> fake.Answer:
        handler.close_connection = True
        return fake.header(Connection="close")(handler, answer)  # type: ignore[return-value]

    server.fault("HEAD", close, times=9)
    assert ask(server) == IMAGE.digest
    assert connections == [server.address] * 2


def test_it_speaks_tls_with_whom_certs_d_vouches_for(secure: FakeRegistry, trusting: Settings) -> None:
    assert ask(secure, trusting) == ask_long(secure, trusting) == IMAGE.digest


def test_it_speaks_tls_with_whom_ssl_cert_file_vouches_for(
    secure: FakeRegistry, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.crt"))
    assert ask(secure) == IMAGE.digest


def test_it_speaks_tls_with_an_insecure_registry(secure: FakeRegistry) -> None:
    assert ask(secure, Settings(insecure=(secure.address,), certificates=())) == IMAGE.digest


# Where it does not


def test_nothing_is_said_to_whom_nobody_vouches_for(secure: FakeRegistry, home: Path) -> None:
    secure.login = SECRET
    login(home, secure)
    assert ask(secure) is None
    assert not secure.seen


def test_nothing_is_said_to_whom_another_name_is_vouched_for(
    secure: FakeRegistry, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.crt"))
    monkeypatch.setattr(short, "connect", lambda origin, seconds: greeting.connect(to(secure, origin.scheme), seconds))
    at = f"registry.test:{secure.address.partition(':')[2]}"
    assert short.head(reference.parse(f"{at}/a/b:t"), PLAIN) is None
    assert not secure.seen


def to(server: FakeRegistry, scheme: str) -> Any:
    return parse_url(f"{scheme}://{server.address}")


def test_a_registry_elsewhere_is_never_asked_in_plain(server: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short, "connect", lambda origin, seconds: greeting.connect(to(server, origin.scheme), seconds))
    assert short.head(reference.parse("registry.test:5000/a/b:t"), PLAIN) is None
    assert not server.seen


def test_a_redirect_is_not_followed_and_no_secret_goes_along(server: FakeRegistry, other: FakeRegistry, home: Path) -> None:
    server.login = SECRET
    login(home, server)
    server.fault("HEAD", fake.fine)
    server.fault("HEAD", fake.redirect(other.url + "{path}"))
    assert ask(server) is None
    assert server.seen[-1].headers["authorization"]
    assert not other.seen


@pytest.mark.parametrize("realm", ["http://169.254.169.254/token", "http://[fe80::1]/token", "ftp://h.io/", "http://u:p@h.io/"])
def test_a_realm_that_is_refused_gets_nothing(server: FakeRegistry, connections: list[str], realm: str) -> None:
    server.bearer = realm
    assert ask(server) is None
    assert set(connections) == {server.address}
    with pytest.raises(CrateError):
        ask_long(server)


def test_a_realm_whose_name_leads_to_a_forbidden_address_gets_nothing(
    server: FakeRegistry, other: FakeRegistry, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.bearer = other.url + "/token"
    monkeypatch.setattr(short, "is_forbidden", lambda address: address == "127.0.0.1")
    assert ask(server) is None
    assert connections == [server.address, other.address]
    assert not other.seen
    assert server.seen  # which the user has named


def test_a_plain_realm_gets_no_password_of_a_secure_registry(
    secure: FakeRegistry, other: FakeRegistry, trusting: Settings, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cratebox.image import token

    monkeypatch.setattr(token, "is_loopback", lambda _host: False)
    secure.bearer = other.url + "/token"
    assert ask(secure, trusting) is None
    assert set(connections) == {secure.address}
    assert not other.seen


def test_a_realm_that_redirects_hands_no_password_on(server: FakeRegistry, other: FakeRegistry, home: Path) -> None:
    server.login, server.bearer = SECRET, "own"
    login(home, server)
    server.fault("/token", fake.redirect(other.url + "{path}"))
    assert ask(server) is None
    assert not other.seen


@pytest.mark.parametrize(
    "fault",
    [
        fake.status(500), fake.status(429, Retry_After="1"), fake.status(404), fake.status(403), fake.hang_up,
        fake.header(Docker_Content_Digest="sha256:../../x"), fake.header(Docker_Content_Digest=""),
        fake.header(Content_Length="+1"),
    ],
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_asked_once_and_left(server: FakeRegistry, fault: fake.Fault) -> None:
    server.fault("HEAD", fault, times=9)
    assert ask(server) is None
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", [fake.chunked, lambda: fake.cut(3), lambda: fake.body(lambda _data: b"no JSON")])
def test_a_token_that_does_not_come_whole_is_none(server: FakeRegistry, way: Callable[[], fake.Fault]) -> None:
    server.bearer = "own"
    server.fault("/token", way())
    assert ask(server) is None
    assert ask_long(server) == IMAGE.digest


def test_a_proxy_is_not_passed_by(server: FakeRegistry, connections: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    assert short.head(reference.parse("registry.test:5000/a/b:t"), PLAIN) is None
    assert not connections


def test_a_realm_behind_a_proxy_is_not_passed_by(
    server: FakeRegistry, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.bearer = "https://auth.test/token"
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    assert ask(server) is None
    assert set(connections) == {server.address}


def test_mirrors_are_not_passed_by(server: FakeRegistry, connections: list[str]) -> None:
    mirrored = Namespace(prefix=server.address, mirrors=(Mirror(location="127.0.0.1:1"),))
    assert ask(server, PLAIN.replace(namespaces=(mirrored,))) is None
    assert not connections
    assert not server.seen


def test_a_blocked_name_asks_nobody(server: FakeRegistry) -> None:
    with pytest.raises(NotAllowed):
        ask(server, PLAIN.replace(namespaces=(Namespace(prefix=server.address, blocked=True),)))
    assert not server.seen


def test_another_location_is_asked_in_the_name_s_place(server: FakeRegistry) -> None:
    moved = PLAIN.replace(namespaces=(Namespace(prefix="h.io/x", location=f"{server.address}/a"),))
    assert short.head(reference.parse("h.io/x/b:t"), moved) == IMAGE.digest


def test_a_registry_that_is_not_there_is_none(server: FakeRegistry) -> None:
    at = reference.parse("127.0.0.1:1/a/b:t")
    assert short.head(at, PLAIN) is None


# What an answer may look like


@pytest.mark.parametrize(
    "head",
    [
        b"", b"HTTP/2.0 200 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 2000", b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 200 OK\r\nA b", b"HTTP/1.1 200 OK\r\n: b", b"HTTP/1.1 200 OK\r\nA : b", b"HTTP/1.1 200 OK\r\nA: b\r\n c",
        b"HTTP/1.1 200 OK\r\nA: b\nc: d", b"HTTP/1.1 200 OK\r\nA: b\rc", b"HTTP/1.1 200 OK\r\nA: \0", b"HTTP/1.1 200 OK\nA: b",
        "HTTP/1.1 200 OK\r\nÄ: b".encode(),
    ],
)  # fmt: skip
def test_an_odd_head_is_unusual(head: bytes) -> None:
    with pytest.raises(short.Unusual):
        short._parsed(head)


def test_headers_are_read_as_they_are_meant() -> None:
    version, status, headers = short._parsed(b"HTTP/1.1 401 No\r\nA:b\r\nX-Y: \t c d \r\na: e\r\nEmpty:")
    assert (version, status) == (b"HTTP/1.1", 401)
    assert headers == {"a": "b, e", "x-y": "c d", "empty": ""}
    assert headers.get("X-y") == "c d"
    assert headers.get("Z") is None
    assert short._parsed(b"HTTP/1.0 200") == (b"HTTP/1.0", 200, {})


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    with ours, theirs:
        yield ours, theirs


def test_endless_headers_are_unusual(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.setblocking(False)
    sent, part = 0, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000
    try:
        while sent < 200_000:
            sent += theirs.send(part)
    except BlockingIOError:
        pass
    assert sent > 70_000
    with pytest.raises(short.Unusual):
        short._Connection(ours).ask("HEAD", "/", {})


def test_an_answer_that_takes_too_long_is_given_up(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short, "_ANSWER_TIMEOUT", 0.2)
    pair[1].sendall(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(TimeoutError):
        short._Connection(pair[0]).ask("HEAD", "/", {})


def test_what_would_add_a_header_is_not_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(short.Unusual):
        short._Connection(pair[0]).ask("HEAD", "/", {"A": "b\r\nC: d"})
    pair[0].close()
    assert pair[1].recv(100) == b""


# What a pull makes of it


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "store")


def test_a_pull_of_what_is_there_asks_once(server: FakeRegistry, store: Store) -> None:
    pull(store, str(named(server)))
    server.seen.clear()
    assert pull(store, str(named(server))).status == "present"
    assert [seen.method for seen in server.seen] == ["HEAD"]


def test_a_pull_fetches_what_the_name_stands_for_now(server: FakeRegistry, store: Store) -> None:
    from pulls import OTHER

    pull(store, str(named(server)))
    server.put("a/b:t", OTHER)
    pulled = pull(store, str(named(server)))
    assert (pulled.status, pulled.image.manifest_digest) == ("downloaded", OTHER.digest)


def test_where_the_short_way_fails_the_long_one_is_gone(server: FakeRegistry, store: Store) -> None:
    pull(store, str(named(server)))
    with FailingProxy(upstream=server.address) as proxy:
        pull(store, str(named(proxy)))
        proxy.seen.clear()
        proxy.fault("HEAD", fake.hang_up)
        assert pull(store, str(named(proxy))).status == "present"
        assert [seen.method for seen in proxy.seen] == ["HEAD", "HEAD"]


# The first word of TLS


def test_a_server_of_tls_is_known_by_its_answer(secure: FakeRegistry, server: FakeRegistry) -> None:
    assert greeting.speaks_tls(to(secure, "https")) is True
    assert greeting.speaks_tls(to(server, "https")) is False


@pytest.mark.parametrize(
    ("answer", "speaks"), [(b"\x15", True), (b"\x16", True), (b"HTTP", False), (b"\0", False), (b"", False)]
)
def test_any_answer_tells(answer: bytes, speaks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    monkeypatch.setattr(greeting, "connect", lambda *_words: ours)
    with theirs:
        assert greeting.speaks_tls(parse_url("https://localhost:5000")) is speaks
        hello = theirs.recv(1000)
    assert hello[:3] == b"\x16\x03\x01"
    assert b"localhost" in hello


def test_where_nobody_listens_it_is_left_to_the_question_itself() -> None:
    assert greeting.speaks_tls(parse_url("https://127.0.0.1:1")) is True
