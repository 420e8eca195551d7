"""Pulls through mirrors: which is asked, what happens when one fails in each way, and that none can change an image."""

from __future__ import annotations

import os
import re
from pathlib import Path

import fake_registry as fake
import pytest
from clients import IMAGE, SECRET, lead_to_loopback, login
from fake_registry import FakeRegistry, Fault
from pulls import new_store

from cratebox.errors import NotAllowed, NotFound, RegistryError, Untrusted
from cratebox.image import platform as platforms
from cratebox.image import transport
from cratebox.image.access import Access, credential
from cratebox.image.policy import Policy
from cratebox.image.progress import Silent
from cratebox.image.pull import Pulled, bring
from cratebox.image.registries_conf import Mirror, Namespace
from cratebox.image.settings import Settings
from cratebox.image.store import Store
from support.images import Image, Tree

NAME = "registry.test/a/b:t"
LARGE = Image((Tree().file("hello", b"world").file("noise", os.urandom(400_000)).layer(),))


class Told(Silent):
    """A progress that remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def told() -> Told:
    return Told()


def through(mirror: str, main: FakeRegistry, **words: object) -> Settings:
    """Settings by which registry.test is really `main`, with a mirror before it."""
    first = Mirror(location=mirror, **words)  # type: ignore[arg-type]
    return Settings(certificates=(), namespaces=(Namespace(prefix="registry.test", location=main.address, mirrors=(first,)),))


def pull(store: Store, settings: Settings, told: Told, name: str = NAME) -> Pulled:
    return bring(store, transport.parse(name), platforms.parse("linux/amd64"), settings, told)


def test_a_mirror_is_asked_for_everything_and_the_name_stays(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told
) -> None:
    server.put("sub/a/b:t", LARGE)
    pulled = pull(store, through(f"{server.address}/sub", other), told)
    assert pulled.image.names == (NAME,)
    assert pulled.image.repo_digests == (f"registry.test/a/b@{LARGE.digest}",)
    assert other.seen == []
    assert told.lines == [f"reading from the mirror {server.address}/sub/a/b"]
    assert pull(store, through(f"{server.address}/sub", other), told).status == "present"


@pytest.mark.parametrize(
    "fault",
    [fake.status(404), fake.status(500), fake.status(403), fake.status(401), fake.status(429, Retry_After="3600"), fake.cut(20),
     fake.redirect("http://169.254.169.254/x"), fake.redirect("{path}")],
    ids=["missing", "broken", "forbidden", "unknown", "too many", "cut", "astray", "endless"],
)  # fmt: skip
def test_a_mirror_that_fails_is_left_out_and_said_so(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told, fault: Fault
) -> None:
    server.fault("/v2/a/b/", fault, times=1000)
    other.put("a/b:t", IMAGE)
    assert pull(store, through(server.address, other), told).image.id == IMAGE.id
    assert told.lines[-1].startswith(f"the mirror {server.address}/a/b is left out: ")
    assert len(told.lines) <= 2  # it may be told that it is waited for, and nothing is told twice


def test_a_mirror_that_nobody_answers_at_is_left_out(other: FakeRegistry, store: Store, told: Told) -> None:
    other.put("a/b:t", IMAGE)
    with FakeRegistry() as gone:
        address = gone.address
    assert pull(store, through(address, other), told).image.id == IMAGE.id
    assert "cannot reach" in told.lines[0]


def test_a_blob_that_a_mirror_lacks_comes_from_the_registry(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told
) -> None:
    server.put("a/b:t", LARGE)
    del server.blobs[LARGE.layers[0].digest]
    other.put("a/b:t", LARGE)
    assert pull(store, through(server.address, other), told).image.id == LARGE.id
    assert any("is left out" in line for line in told.lines)


def test_a_blob_that_a_mirror_breaks_off_for_good_is_gone_on_with_elsewhere(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told
) -> None:
    server.put("a/b:t", LARGE)
    other.put("a/b:t", LARGE)
    server.fault(f"blobs/{LARGE.layers[0].digest}", fake.cut(200_000))
    server.fault(f"blobs/{LARGE.layers[0].digest}", fake.status(404), times=1000)
    assert pull(store, through(server.address, other), told).image.id == LARGE.id
    (seen,) = other.asked("/blobs/")
    assert re.fullmatch(r"bytes=[1-9][0-9]+-", seen.headers["range"])


@pytest.mark.parametrize("part", ["manifests/t", "blobs/"])
def test_a_mirror_with_wrong_bytes_ends_the_pull(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told, part: str
) -> None:
    server.put("a/b:t", LARGE)
    other.put("a/b:t", LARGE)
    server.fault(f"GET /v2/a/b/{part}", fake.body(lambda data: data[:-1] + bytes([data[-1] ^ 1])), times=1000)
    with pytest.raises(Untrusted) as caught:
        pull(store, through(server.address, other), told)
    assert other.seen == []
    assert server.address in caught.value.message
    assert store.images() == []


def test_where_all_fail_the_registry_s_own_error_is_raised(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told
) -> None:
    server.fault("/v2/a/b/", fake.status(500), times=1000)
    with pytest.raises(NotFound):
        pull(store, through(server.address, other), told)
    assert told.lines[-1].startswith(f"the mirror {server.address}/a/b is left out: ")


def test_a_mirror_for_digests_is_not_asked_for_a_tag(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told
) -> None:
    server.put("a/b:t", IMAGE)
    other.put("a/b:t", IMAGE)
    settings = through(server.address, other, for_tags=False)
    assert pull(store, settings, told).image.id == IMAGE.id
    assert server.seen == []
    server.seen.clear()
    empty = new_store(Path(store.directory + "-2"))
    assert pull(empty, settings, told, f"registry.test/a/b@{IMAGE.digest}").image.id == IMAGE.id
    assert server.asked("/manifests/")


def test_a_mirror_sees_its_own_password_alone(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told, home: Path
) -> None:
    server.login = "name:other"
    other.login = "name:s3cr3t-canary"
    login(home, other)
    other.put("a/b:t", IMAGE)
    assert pull(store, through(server.address, other), told).image.id == IMAGE.id
    assert not any(seen.headers.get("authorization") for seen in server.seen)


def test_a_plain_mirror_must_be_called_insecure(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to_loopback(monkeypatch)
    server.put("a/b:t", IMAGE)
    mirror = f"mirror.test:{server.address.rpartition(':')[2]}"
    with pytest.raises((RegistryError, NotFound)):
        pull(store, through(mirror, other), told)
    assert server.seen == []
    assert pull(store, through(mirror, other, insecure=True), told).image.id == IMAGE.id


def test_a_blocked_name_asks_nobody(server: FakeRegistry, store: Store, told: Told) -> None:
    server.put("a/b:t", IMAGE)
    settings = Settings(certificates=(), namespaces=(Namespace(prefix=f"{server.address}/a", blocked=True, where="here"),))
    with pytest.raises(NotAllowed, match="blocked in here"):
        pull(store, settings, told, f"{server.address}/a/b:t")
    assert server.seen == []


def test_a_rejected_name_asks_nobody_and_leaves_nothing(server: FakeRegistry, store: Store, told: Told) -> None:
    server.put("a/b:t", IMAGE)
    with pytest.raises(NotAllowed, match="here rejects it"):
        pull(
            store, Settings(certificates=(), policy=Policy(default=("reject",), where="here")), told, f"{server.address}/a/b:t"
        )
    assert server.seen == []
    assert not os.path.exists(store.directory)


def test_what_is_said_of_one_registry_is_nothing_for_its_mirror(
    server: FakeRegistry, other: FakeRegistry, store: Store, told: Told
) -> None:
    other.put("a/b:t", IMAGE)
    server.login = other.login = SECRET
    settings = through(server.address, other).replace(access=Access(credential=credential(SECRET)))
    assert pull(store, settings, told).image.id == IMAGE.id
    assert not [seen for seen in server.seen if "authorization" in seen.headers]
    assert [seen for seen in other.seen if "authorization" in seen.headers]
    kept = Access(verify=False, credential=credential(SECRET), certificates="/x", authfile="/y").elsewhere()
    assert kept == Access(authfile="/y")
    assert Access(verify=True).elsewhere() == Access(verify=True)
