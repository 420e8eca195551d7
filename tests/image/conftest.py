"""The fixtures of the tests of the registry client and of pulls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import BLOB, IMAGE, Clock, Connect
from fake_registry import FakeRegistry, certificates

from cratebox.image import fetch, reference, registry, token
from cratebox.image.registry import Registry
from cratebox.image.settings import Settings
from support.images import digest

VARIABLES = ("REGISTRY_AUTH_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (fetch, registry, token):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of its own, and no settings of whoever runs the tests."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def server(clock: Clock, home: Path) -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        server.put("a/b:t", IMAGE)
        server.blobs[digest(BLOB)] = BLOB
        yield server


@pytest.fixture
def other(clock: Clock, home: Path) -> Iterator[FakeRegistry]:
    with FakeRegistry() as other:
        other.blobs[digest(BLOB)] = BLOB
        yield other


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(authority: Path, clock: Clock, home: Path) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=authority) as secure:
        secure.put("a/b:t", IMAGE)
        secure.blobs[digest(BLOB)] = BLOB
        yield secure


@pytest.fixture
def trusting(authority: Path, secure: FakeRegistry, tmp_path: Path) -> Settings:
    """Settings with a certs.d that has the authority of `secure`."""
    place = tmp_path / "certs.d" / secure.address
    place.mkdir(parents=True)
    (place / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
    return Settings(certificates=(str(tmp_path / "certs.d"),))


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened = []

    def connect(server: FakeRegistry, name: str = "a/b:t", settings: Settings | None = None) -> Registry:
        client = Registry(reference.parse(f"{server.address}/{name}"), settings or Settings(certificates=()))
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.close()
