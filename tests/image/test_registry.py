"""The registry client against a registry that misbehaves: manifests, blobs, and what is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

import fake_registry as fake
import pytest
from clients import BLOB, IMAGE, Clock, Connect, descriptor
from fake_registry import FakeRegistry

from cratebox.errors import NotFound, RegistryError, Untrusted
from cratebox.image import asking, connection, fetch, manifest, reference, registry
from cratebox.image.manifest import Descriptor
from cratebox.image.registry import Registry
from cratebox.image.settings import Settings
from support.images import digest

# Manifests


def test_a_manifest_is_fetched_with_its_digest_and_type(server: FakeRegistry, connect: Connect) -> None:
    found = connect(server).resolve()
    assert (found.raw, found.descriptor.digest, found.descriptor.media_type) == (IMAGE.manifest, IMAGE.digest, fake.MANIFEST)


def test_the_accept_header_names_all_kinds_of_manifest(server: FakeRegistry, connect: Connect) -> None:
    connect(server).resolve()
    accepted = server.asked("/manifests/")[0].headers["accept"]
    assert all(kind in accepted for kind in manifest.INDEX_TYPES | manifest.MANIFEST_TYPES)


def test_a_head_gives_the_digest_alone(server: FakeRegistry, connect: Connect) -> None:
    assert connect(server).head() == IMAGE.digest
    assert [seen.method for seen in server.asked("/manifests/")] == ["HEAD"]


@pytest.mark.parametrize("name", ["a/b:t", f"a/b@{IMAGE.digest}"])
def test_wrong_bytes_of_a_manifest_are_refused(server: FakeRegistry, connect: Connect, name: str) -> None:
    server.fault("GET /v2/a/b/manifests", fake.body(lambda raw: raw.replace(b"2", b"3", 1)))
    with pytest.raises(Untrusted, match="not what its digest says"):
        connect(server, name).resolve()


def test_a_registry_cannot_answer_a_digest_with_another_manifest(server: FakeRegistry, connect: Connect) -> None:
    wanted = digest(b"something else")
    server.manifests[f"a/b/{wanted}"] = server.manifests["a/b/t"]
    with pytest.raises(Untrusted):
        connect(server, f"a/b@{wanted}").resolve()


def test_a_path_as_digest_of_the_answer_is_refused(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/manifests/", fake.header(Docker_Content_Digest="sha256:../../x"))
    with pytest.raises(Untrusted, match="not a digest"):
        connect(server).resolve()


def test_an_endless_manifest_is_cut(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/manifests/", fake.body(lambda _raw: b" " * (5 << 20)))
    with pytest.raises(RegistryError, match="larger than"):
        connect(server).resolve()


def test_an_entry_of_another_size_than_the_index_says_is_refused(server: FakeRegistry, connect: Connect) -> None:
    entry = Descriptor(media_type=fake.MANIFEST, digest=IMAGE.digest, size=1)
    with pytest.raises(Untrusted, match="the index says 1"):
        connect(server).manifest(entry)


def test_an_entry_of_another_type_than_the_index_says_is_refused(server: FakeRegistry, connect: Connect) -> None:
    entry = Descriptor(media_type=manifest.DOCKER_MANIFEST, digest=IMAGE.digest, size=len(IMAGE.manifest))
    with pytest.raises(Untrusted, match="served as"):
        connect(server).manifest(entry)


@pytest.mark.parametrize(("name", "said"), [("a/b:nope", "no such tag"), ("no/thing:t", "has no repository of that name")])
def test_what_is_not_there_is_not_found(server: FakeRegistry, connect: Connect, name: str, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        connect(server, name).resolve()


def test_a_refusal_has_method_address_status_and_diagnosis(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/manifests/", fake.status(403, "DENIED", "not for you\x1b[2J"), times=9)
    with pytest.raises(RegistryError) as caught:
        connect(server).resolve()
    assert f"GET http://{server.address}/v2/a/b/manifests/t: 403 DENIED: not for you\\x1b[2J" in str(caught.value)
    assert "docker" in str(caught.value.hint)


# Blobs


def test_a_blob_comes_whole(server: FakeRegistry, connect: Connect) -> None:
    assert b"".join(connect(server).blob(descriptor())) == BLOB


def test_a_blob_is_gone_on_with_by_range(server: FakeRegistry, connect: Connect) -> None:
    assert b"".join(connect(server).blob(descriptor(), 300_000)) == BLOB[300_000:]
    assert server.asked("/blobs/")[0].headers["range"] == "bytes=300000-"


def test_a_server_that_knows_no_range_sends_all_again(server: FakeRegistry, connect: Connect) -> None:
    server.ranges = False
    assert b"".join(connect(server).blob(descriptor(), 300_000)) == BLOB[300_000:]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_blob_is_resumed_where_it_was_cut(server: FakeRegistry, connect: Connect, ranges: bool) -> None:
    server.ranges = ranges
    server.fault("/blobs/", fake.cut(200_000))
    server.fault("/blobs/", fake.cut(100_000 if ranges else 300_000))
    assert b"".join(connect(server).blob(descriptor())) == BLOB
    assert int(server.asked("/blobs/")[1].headers["range"].strip("bytes=-")) > 100_000


def test_a_stalled_blob_is_resumed_after_the_timeout(
    server: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "READ_TIMEOUT", 0.2)
    server.fault("/blobs/", fake.stall(200_000, 2))
    assert b"".join(connect(server).blob(descriptor())) == BLOB


def test_a_blob_that_comes_a_byte_at_a_time_is_given_up(
    server: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_PATIENCE", 0.5)
    server.fault("/blobs/", fake.drip(100_000, 0.1, 600))
    got = []
    with pytest.raises(RegistryError, match="less than 1024 bytes a second"):
        got.extend(connect(server).blob(descriptor()))
    assert b"".join(got)[:100_000] == BLOB[:100_000]
    assert len(server.asked("/blobs/")) == 1


def test_a_manifest_that_comes_a_byte_at_a_time_is_given_up(
    server: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BODY_TIMEOUT", 0.5)
    server.fault("/manifests/", fake.drip(10, 0.1, 600), times=99)
    with pytest.raises(RegistryError, match="the answer broke off"):
        connect(server).resolve()


@pytest.mark.parametrize(
    "endless", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"a"], ids=["100", "header", "a"]
)
def test_headers_without_an_end_are_given_up(
    server: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch, endless: bytes
) -> None:
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT", 0.5)
    server.fault("/manifests/", fake.endless(endless), times=99)
    with pytest.raises(RegistryError, match="no answer in time"):
        connect(server).resolve()


def test_a_blob_that_is_always_cut_is_given_up(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/blobs/", fake.cut(0), times=99)
    with pytest.raises(RegistryError, match="cut off after 0 of 512000 bytes") as caught:
        b"".join(connect(server).blob(descriptor()))
    assert "pull again" in str(caught.value.hint)


def test_progress_between_cuts_earns_more_tries(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/blobs/", fake.cut(66_000), times=7)
    assert b"".join(connect(server).blob(descriptor())) == BLOB


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1], lambda _data: b""])
def test_an_announced_length_that_is_wrong_is_refused_at_once(
    server: FakeRegistry, connect: Connect, change: Callable[[bytes], bytes]
) -> None:
    server.fault("/blobs/", fake.body(change))
    with pytest.raises(Untrusted, match="are announced"):
        next(iter(connect(server).blob(descriptor())))


@pytest.mark.parametrize("way", [fake.without_length, fake.chunked])
def test_a_blob_without_a_length_is_taken(server: FakeRegistry, connect: Connect, way: Callable[..., fake.Fault]) -> None:
    server.fault("/blobs/", way())
    assert b"".join(connect(server).blob(descriptor())) == BLOB


@pytest.mark.parametrize("way", [fake.without_length, fake.chunked])
def test_more_bytes_than_promised_are_refused(server: FakeRegistry, connect: Connect, way: Callable[..., fake.Fault]) -> None:
    server.fault("/blobs/", way(lambda data: data + b"more"))
    with pytest.raises(Untrusted, match="more bytes come"):
        b"".join(connect(server).blob(descriptor()))


@pytest.mark.parametrize("way", [fake.without_length, fake.chunked])
def test_a_blob_that_is_shorter_than_promised_is_refused(
    server: FakeRegistry, connect: Connect, way: Callable[..., fake.Fault]
) -> None:
    server.blobs[digest(BLOB)] = BLOB[:1000]
    server.fault("/blobs/", way())
    with pytest.raises(Untrusted, match="ends before byte 1000"):
        b"".join(connect(server).blob(descriptor()))


@pytest.mark.parametrize("span", ["bytes 0-511999/512000", "bytes 300000-400000/512000", "nonsense", ""])
def test_another_range_than_was_asked_for_is_refused(server: FakeRegistry, connect: Connect, span: str) -> None:
    server.fault("/blobs/", fake.header(Content_Range=span))
    with pytest.raises(RegistryError, match="got the range"):
        b"".join(connect(server).blob(descriptor(), 300_000))


def test_an_encoded_blob_is_refused(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/blobs/", fake.header(Content_Encoding="gzip"))
    with pytest.raises(RegistryError, match="encoding"):
        b"".join(connect(server).blob(descriptor()))


def test_a_small_blob_is_verified(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/blobs/", fake.body(lambda data: b"x" + data[1:]))
    with pytest.raises(Untrusted):
        connect(server).small_blob(descriptor(), 1 << 20)


def test_a_small_blob_above_the_limit_is_not_asked_for(server: FakeRegistry, connect: Connect) -> None:
    with pytest.raises(Untrusted, match="more than 1000"):
        connect(server).small_blob(descriptor(), 1000)
    assert not server.seen


def test_an_unknown_blob_is_an_error_of_the_registry(server: FakeRegistry, connect: Connect) -> None:
    with pytest.raises(RegistryError, match="BLOB_UNKNOWN"):
        b"".join(connect(server).blob(descriptor(b"other")))


# Trying again


@pytest.mark.parametrize("number", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: FakeRegistry, connect: Connect, clock: Clock, number: int) -> None:
    server.fault("/manifests/", fake.status(number), times=3)
    assert connect(server).resolve().raw == IMAGE.manifest
    assert len(clock.slept) == 3


def test_the_waits_double(server: FakeRegistry, connect: Connect, clock: Clock) -> None:
    server.fault("/manifests/", fake.status(500), times=4)
    connect(server).resolve()
    assert [0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(clock.slept)] == [True] * 4


def test_retry_after_is_honoured(server: FakeRegistry, connect: Connect, clock: Clock) -> None:
    server.fault("/manifests/", fake.status(429, Retry_After="7"))
    connect(server).resolve()
    assert clock.slept == [7.0]


def test_retry_after_may_be_a_date(server: FakeRegistry, connect: Connect, clock: Clock) -> None:
    server.fault("/manifests/", fake.status(503, Retry_After=formatdate(time.time() + 20, usegmt=True)))
    connect(server).resolve()
    assert 17 < clock.slept[0] < 21


@pytest.mark.parametrize("value", ["soon", "-5", "\u00b2", "Wed, 99 Foo 2024"])
def test_a_senseless_retry_after_is_ignored(value: str) -> None:
    assert fetch.retry_after(value) == 0


def test_a_registry_that_wants_an_hour_gets_no_more_requests(server: FakeRegistry, connect: Connect, clock: Clock) -> None:
    server.fault("/manifests/", fake.status(429, "TOOMANYREQUESTS", "pull rate limit", Retry_After="3600"), times=9)
    with pytest.raises(RegistryError, match="TOOMANYREQUESTS: pull rate limit") as caught:
        connect(server).resolve()
    assert (clock.slept, len(server.asked("/manifests/"))) == ([], 1)
    assert "3600" in str(caught.value.hint)


def test_a_registry_that_stays_broken_is_given_up(server: FakeRegistry, connect: Connect) -> None:
    server.fault("/manifests/", fake.status(503), times=99)
    with pytest.raises(RegistryError, match="fault of its own"):
        connect(server).resolve()


def test_an_unreachable_registry_says_so(connect: Connect, server: FakeRegistry) -> None:
    client = connect(server)
    client._origin = fetch.parse_url("http://127.0.0.1:1")
    with pytest.raises(RegistryError, match=r"cannot reach 127\.0\.0\.1:1: .*Connection refused") as caught:
        client.resolve()
    assert "HTTPS_PROXY" in str(caught.value.hint)


def test_a_name_that_does_not_resolve_says_so() -> None:
    client = Registry(reference.parse("no-such-host.invalid/x"), Settings(certificates=()))
    with pytest.raises(RegistryError, match="does not resolve"):
        client.resolve()
