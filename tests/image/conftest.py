"""The fixtures of the tests of the registry client, of pulls, of layers and of the store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import BLOB, IMAGE, Clock, Connect
from craft import fingerprint
from fake_registry import FakeRegistry, certificates
from inside import IS_ROOT
from writable_registry import WritableRegistry

from cratebox.image import asking, fetch, reference, registry, token, upload
from cratebox.image.registry import Registry
from cratebox.image.settings import Settings
from cratebox.image.store import Store
from support.images import digest

VARIABLES = ("REGISTRY_AUTH_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (asking, fetch, registry, token, upload):
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
def writable(clock: Clock, home: Path) -> Iterator[WritableRegistry]:
    with WritableRegistry() as writable:
        yield writable


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


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A tree beside the layer that nothing in a layer may reach: the same before and after."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "file").write_text("mine")
    (outside / "deep/link").symlink_to("../file")
    before = fingerprint(outside)
    yield outside
    assert fingerprint(outside) == before


@pytest.fixture
def open_path(scratch: Path) -> Iterator[Path]:
    """A directory that ordinary users reach. pytest's own are below one that each new pytest of root closes to all others."""
    made = Path(tempfile.mkdtemp(prefix="open-", dir=scratch))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "layer"
    made.mkdir()
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"), userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record")
