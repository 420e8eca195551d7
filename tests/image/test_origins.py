"""Who may be told what: redirects, challenges, passwords, certificates, proxies."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

import fake_registry as fake
import pytest
from clients import BLOB, IMAGE, SECRET, Clock, Connect, descriptor, lead_to_loopback, login
from fake_registry import FakeRegistry
from urllib3.util import connection

from cratebox.errors import RegistryError
from cratebox.image import fetch, reference
from cratebox.image.registry import Registry
from cratebox.image.settings import Settings

# Redirects


def test_a_redirect_to_a_blob_store_is_followed(server: FakeRegistry, other: FakeRegistry, connect: Connect) -> None:
    server.fault("/blobs/", fake.redirect(other.url + "{path}?signature=x"))
    assert b"".join(connect(server).blob(descriptor(), 1000)) == BLOB[1000:]
    assert other.seen[0].headers["range"] == "bytes=1000-"


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_the_authorization_stays_with_its_origin(
    server: FakeRegistry, other: FakeRegistry, connect: Connect, home: Path, kind: str
) -> None:
    server.login, server.bearer = SECRET, "own" if kind == "bearer" else ""
    login(home, server)
    server.fault("/blobs/", fake.fine)
    server.fault("/blobs/", fake.redirect(other.url + "{path}"))
    assert b"".join(connect(server).blob(descriptor())) == BLOB
    assert server.seen[-1].headers["authorization"]
    assert all("authorization" not in seen.headers for seen in other.seen)


def test_the_authorization_does_not_come_back_with_a_redirect_home(
    server: FakeRegistry, other: FakeRegistry, connect: Connect, home: Path
) -> None:
    server.login = SECRET
    login(home, server)
    client = connect(server)
    client.resolve()
    server.fault("/blobs/", fake.redirect(other.url + "{path}"))
    other.fault("/blobs/", fake.redirect(server.url + "{path}?home"))
    with pytest.raises(RegistryError, match="401"):
        b"".join(client.blob(descriptor()))
    assert "authorization" not in server.asked("?home")[0].headers


def test_a_challenge_from_another_host_is_not_answered(
    server: FakeRegistry, other: FakeRegistry, connect: Connect, home: Path
) -> None:
    other.bearer = "own"
    login(home, server)
    server.fault("/blobs/", fake.redirect(other.url + "{path}"))
    with pytest.raises(RegistryError, match="401"):
        b"".join(connect(server).blob(descriptor()))
    assert not other.asked("/token")


def test_endless_redirects_end(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/blobs/", fake.redirect("{path}"), times=99)
    with pytest.raises(RegistryError, match="redirected more than 5 times"):
        b"".join(connect(server).blob(descriptor()))


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data", "http://[fe80::1]/x", "http://[::ffff:169.254.169.254]/", "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
    ],
)  # fmt: skip
def test_a_redirect_to_a_metadata_address_is_refused(server: FakeRegistry, connect: Connect, target: str) -> None:
    server.fault("/blobs/", fake.redirect(target))
    with pytest.raises(RegistryError, match="metadata address; that is refused"):
        b"".join(connect(server).blob(descriptor()))


class Metadata:
    """A socket that is connected to where a cloud keeps its secrets."""

    def getpeername(self) -> tuple[str, int]:
        return ("169.254.169.254", 80)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("host", ["metadata.test", "2852039166", "0xa9fea9fe", "169.254.43518"])
def test_a_name_for_a_metadata_address_is_refused_once_connected(
    server: FakeRegistry, connect: Connect, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = connection.create_connection

    def pretend(address: tuple[str, int], *rest: object, **more: object) -> object:
        return Metadata() if address[0] == host else real(address, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "create_connection", pretend)
    server.fault("/blobs/", fake.redirect(f"http://{host}/"))
    with pytest.raises(RegistryError, match="metadata address; that is refused"):
        b"".join(connect(server).blob(descriptor()))


@pytest.mark.parametrize(
    "target", ["ftp://x/", "file:///etc/passwd", "http://user:pw@127.0.0.1/", "http://a b/", "http://x:99999/", "http://x\\y/"]
)  # fmt: skip
def test_a_malformed_redirect_is_refused(server: FakeRegistry, connect: Connect, target: str) -> None:
    server.fault("/blobs/", fake.redirect(target))
    with pytest.raises(RegistryError, match="redirect of GET") as caught:
        b"".join(connect(server).blob(descriptor()))
    assert "pw" not in str(caught.value)


def test_a_signed_address_is_not_in_the_error(server: FakeRegistry, other: FakeRegistry, connect: Connect) -> None:
    server.fault("/blobs/", fake.redirect(other.url + "/gone?signature=s3cr3t"))
    with pytest.raises(RegistryError, match="/gone") as caught:
        b"".join(connect(server).blob(descriptor()))
    assert "s3cr3t" not in f"{caught.value} {caught.value.hint}"


# Passwords and tokens


def test_basic_credentials_are_sent_when_asked_for(server: FakeRegistry, connect: Connect, home: Path) -> None:
    server.login = SECRET
    login(home, server)
    assert connect(server).resolve().raw == IMAGE.manifest
    assert ["authorization" in seen.headers for seen in server.asked("/manifests/")] == [False, True]


def test_no_credentials_is_denied_with_the_files_that_were_read(server: FakeRegistry, connect: Connect) -> None:
    server.login = SECRET
    with pytest.raises(RegistryError, match="denied: no such repository, or it is private") as caught:
        connect(server).resolve()
    assert "/docker/config.json" in str(caught.value.hint)


def test_wrong_credentials_are_denied_without_showing_them(server: FakeRegistry, connect: Connect, home: Path) -> None:
    server.login = "name:other"
    login(home, server)
    with pytest.raises(RegistryError, match="denied") as caught:
        connect(server).resolve()
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert len(server.asked("/manifests/")) == 2


def test_an_anonymous_token_is_fetched_for_the_repository(server: FakeRegistry, connect: Connect) -> None:
    server.bearer = "own"
    assert connect(server).resolve().raw == IMAGE.manifest
    asked = server.asked("/token")[0]
    assert asked.query == {"service": ["the registry"], "scope": ["repository:a/b:pull"]}
    assert "authorization" not in asked.headers


def test_a_token_is_used_for_all_that_follows(server: FakeRegistry, connect: Connect) -> None:
    server.bearer = "own"
    client = connect(server)
    client.resolve()
    assert b"".join(client.blob(descriptor())) == BLOB
    assert len(server.asked("/token")) == 1


def test_a_password_goes_to_the_realm_alone(server: FakeRegistry, connect: Connect, home: Path) -> None:
    server.login, server.bearer = SECRET, "own"
    login(home, server)
    connect(server).resolve()
    assert server.asked("/token")[0].headers["authorization"] == fake.basic(SECRET)
    assert server.seen[-1].headers["authorization"] == "Bearer t0ken"


def test_a_token_that_runs_out_in_the_middle_is_renewed(server: FakeRegistry, connect: Connect) -> None:
    server.bearer = "own"
    client = connect(server)
    client.resolve()

    def cut_and_forget(handler: fake.Handler, answer: fake.Answer) -> fake.Answer | None:
        server.tokens, server.token = {"second"}, {"access_token": "second"}
        return fake.cut(100_000)(handler, answer)

    server.fault("/blobs/", cut_and_forget)
    assert b"".join(client.blob(descriptor())) == BLOB
    assert len(server.asked("/token")) == 2


def test_a_token_past_its_time_is_renewed_before_it_is_refused(server: FakeRegistry, connect: Connect, clock: Clock) -> None:
    server.bearer, server.token = "own", {"token": "t0ken", "expires_in": 300}
    client = connect(server)
    client.resolve()
    clock.ahead = 295
    client.resolve()
    assert [seen.path.partition("?")[0] for seen in server.seen[-2:]] == ["/token", "/v2/a/b/manifests/t"]


def test_an_identity_token_is_exchanged_by_post(server: FakeRegistry, connect: Connect, home: Path) -> None:
    server.bearer = "own"
    login(home, server, identitytoken="refresh-canary")
    connect(server).resolve()
    asked = server.asked("POST /token")[0]
    form = parse_qs(asked.body.decode())
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["refresh-canary"])
    assert form["scope"] == ["repository:a/b:pull"]
    assert "canary" not in asked.path


def test_a_token_that_does_not_help_is_denied(server: FakeRegistry, connect: Connect) -> None:
    server.bearer, server.token = "own", {"token": "useless"}
    with pytest.raises(RegistryError, match="denied"):
        connect(server).resolve()
    assert len(server.asked("/token")) == 1


@pytest.mark.parametrize(
    "answer", [{}, {"token": ""}, {"token": 5}, {"token": "a\r\nX: y"}, {"token": "x" * 100_000}, {"token": "\u00e9"}]
)
def test_a_token_that_cannot_be_a_header_is_refused(server: FakeRegistry, connect: Connect, answer: dict[str, object]) -> None:
    server.bearer, server.token = "own", answer
    with pytest.raises(RegistryError, match="no token that can be used"):
        connect(server).resolve()


def test_a_refused_password_names_the_file_it_came_from(server: FakeRegistry, connect: Connect, home: Path) -> None:
    server.login, server.bearer = "name:other", "own"
    login(home, server)
    with pytest.raises(RegistryError, match="was refused") as caught:
        connect(server).resolve()
    assert "docker/config.json" in str(caught.value.hint)
    assert "canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("realm", ["nonsense", "ftp://x/token", "http://169.254.169.254/token", "http://u:p@127.0.0.1/token"])
def test_a_realm_that_is_no_good_is_refused(server: FakeRegistry, connect: Connect, home: Path, realm: str) -> None:
    server.bearer = realm
    login(home, server)
    with pytest.raises(RegistryError, match=r"realm that|that is refused"):
        connect(server).resolve()


def test_a_challenge_without_a_realm_is_refused(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/manifests/", fake.status(401, WWW_Authenticate="Bearer service=x"))
    with pytest.raises(RegistryError, match="realm"):
        connect(server).resolve()


def test_a_realm_may_not_hand_the_password_on(server: FakeRegistry, other: FakeRegistry, connect: Connect, home: Path) -> None:
    server.login, server.bearer = SECRET, "own"
    login(home, server)
    server.fault("/token", fake.redirect(other.url + "{path}"))
    connect(server).resolve()
    assert "authorization" not in other.seen[0].headers


def test_a_plain_realm_gets_no_password_of_a_secure_registry(
    secure: FakeRegistry, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    name = f"registry.test:{secure.address.partition(':')[2]}"
    secure.bearer = "http://auth.test/token"
    client = Registry(reference.parse(f"{name}/a/b:t"), Settings(insecure=(name,), certificates=()))
    lead_to_loopback(monkeypatch)
    with pytest.raises(RegistryError, match="password sent over plain http"):
        client.resolve()
    client.close()


# Certificates and plain HTTP


def test_an_authority_in_certs_d_is_trusted(secure: FakeRegistry, connect: Connect, trusting: Settings) -> None:
    assert connect(secure, settings=trusting).resolve().raw == IMAGE.manifest


def test_a_blob_comes_over_tls_and_is_resumed(secure: FakeRegistry, connect: Connect, trusting: Settings) -> None:
    secure.fault("/blobs/", fake.cut(200_000))
    assert b"".join(connect(secure, settings=trusting).blob(descriptor())) == BLOB


def test_an_authority_in_ssl_cert_file_is_trusted(
    secure: FakeRegistry, connect: Connect, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.crt"))
    assert connect(secure).resolve().raw == IMAGE.manifest


def test_an_unknown_authority_is_refused_once_and_not_asked_in_plain(
    secure: FakeRegistry, connect: Connect, clock: Clock
) -> None:
    with pytest.raises(RegistryError, match="is not trusted") as caught:
        connect(secure).resolve()
    assert "certs.d" in str(caught.value.hint)
    assert (secure.seen, clock.slept) == ([], [])


def test_a_certificate_for_another_name_is_refused(
    secure: FakeRegistry, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.crt"))
    lead_to_loopback(monkeypatch)
    port = secure.address.partition(":")[2]
    with pytest.raises(RegistryError, match=r"is not trusted: .*registry\.test"):
        Registry(reference.parse(f"registry.test:{port}/a/b:t"), Settings(certificates=())).resolve()


def test_an_insecure_registry_need_not_prove_itself(secure: FakeRegistry, connect: Connect) -> None:
    settings = Settings(insecure=(secure.address,), certificates=())
    assert connect(secure, settings=settings).resolve().raw == IMAGE.manifest


def test_a_redirect_from_https_to_http_is_refused(
    secure: FakeRegistry, other: FakeRegistry, connect: Connect, trusting: Settings
) -> None:
    secure.fault("/blobs/", fake.redirect(other.url + "{path}"))
    with pytest.raises(RegistryError, match="plain http"):
        b"".join(connect(secure, settings=trusting).blob(descriptor()))
    assert not other.seen


def test_a_damaged_authority_is_named(secure: FakeRegistry, connect: Connect, trusting: Settings) -> None:
    damaged = Path(trusting.certificates[0], secure.address, "ca.crt")
    damaged.write_text("nonsense")
    with pytest.raises(RegistryError, match=r"cannot use the certificate .*ca\.crt"):
        connect(secure, settings=trusting).resolve()


def test_a_registry_elsewhere_is_never_asked_in_plain(server: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_to_loopback(monkeypatch)
    port = server.address.partition(":")[2]
    with pytest.raises(RegistryError, match="TLS failed"):
        Registry(reference.parse(f"registry.test:{port}/a/b:t"), Settings(certificates=())).resolve()
    assert not server.seen


def test_an_insecure_registry_may_be_plain(server: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"registry.test:{server.address.partition(':')[2]}"
    client = Registry(reference.parse(f"{name}/a/b:t"), Settings(insecure=(name,), certificates=()))
    lead_to_loopback(monkeypatch)
    assert client.resolve().raw == IMAGE.manifest
    client.close()


# Proxies


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_asked(
    server: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://user:pw@{server.address}")
    client = connect(server)
    client._origin = fetch.parse_url("http://registry.test:5000")
    assert client.resolve().raw == IMAGE.manifest
    assert server.seen[0].path == "http://registry.test:5000/v2/a/b/manifests/t"
    assert server.seen[0].headers["proxy-authorization"] == fake.basic("user:pw")


def test_a_proxy_that_does_not_answer_is_said_to_be_the_cause(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, home: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(RegistryError, match="the proxy failed: Connection refused"):
        Registry(reference.parse("registry.test/a/b:t"), Settings(certificates=())).resolve()
