"""Pushing: what is sent, what is not, and what becomes of a push that goes wrong."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from urllib.parse import urlencode

import fake_registry as fake
import pytest
from clients import SECRET, Clock, login
from fake_registry import FakeRegistry
from pulls import begin, kill_with_workers, new_store, wait_until, workers
from writable_registry import WritableRegistry

from cratebox.errors import InvalidValue, NotFound, RegistryError, StorageError, Untrusted
from cratebox.image import platform as platforms
from cratebox.image import pull, push, reference, transport, upload
from cratebox.image.manifest import OCI_INDEX, Descriptor
from cratebox.image.push import Pushed
from cratebox.image.settings import Settings
from cratebox.image.store import Store
from support.images import Image, Tree, digest, index

NOISE = os.urandom(3_000_000)
BIG = Tree().file("noise", NOISE).layer()
SMALL = Tree().file("one", b"1").layer()
IMAGE = Image((SMALL, BIG))
SETTINGS = Settings(certificates=())


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.notes: dict[str, str] = {}

    def layer(self, digest: str, total_bytes: int) -> None:
        self.bytes[digest] = 0

    def advance(self, digest: str, n_bytes: int) -> None:
        self.bytes[digest] += n_bytes

    def done(self, digest: str, note: str) -> None:
        self.notes[digest] = note

    def message(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path, home: Path, clock: Clock) -> Store:
    """A store with IMAGE in it, pulled from elsewhere."""
    made = new_store(tmp_path / "store")
    with FakeRegistry() as elsewhere:
        bring(made, elsewhere.put("a/b:t", IMAGE))
    return made


def bring(store: Store, name: str) -> None:
    pull.bring(store, transport.parse(name), platforms.parse("linux/amd64"), Settings(certificates=(), settle="never"))


def send(store: Store, server: FakeRegistry, name: str = "new/thing:t", progress: Told | None = None) -> Pushed:
    top = Descriptor(IMAGE.media["manifest"], IMAGE.digest, len(IMAGE.manifest))
    return push.send(store, top, reference.parse(f"{server.address}/{name}"), SETTINGS, progress)


def sent(server: FakeRegistry) -> int:
    """Return how many bytes of blobs have come."""
    return sum(len(seen.body) for seen in server.seen if "/blobs/uploads/" in seen.path)


def bodies(server: FakeRegistry) -> list[str]:
    """Return the methods of the requests that brought a part of BIG."""
    return [seen.method for seen in server.seen if len(seen.body) > 100_000]


def is_whole(server: WritableRegistry, name: str = "new/thing/t") -> bool:
    blobs = {blob: server.blobs.get(blob) for blob in IMAGE.blobs}
    return server.manifests.get(name) == (IMAGE.manifest, IMAGE.media["manifest"]) and blobs == dict(IMAGE.blobs)


# What is sent


def test_the_bytes_that_were_pulled_are_pushed(store: Store, writable: WritableRegistry) -> None:
    told = Told()
    pushed = send(store, writable, progress=told)
    assert (pushed.digest, pushed.size) == (IMAGE.digest, len(IMAGE.manifest))
    assert is_whole(writable)
    assert told.notes == {SMALL.digest: "pushed", BIG.digest: "pushed"}
    assert writable.uploads == {}


def test_what_is_there_is_not_sent_again(store: Store, writable: WritableRegistry) -> None:
    send(store, writable)
    writable.seen.clear()
    told = Told()
    send(store, writable, "new/thing:another", told)
    assert sent(writable) == 0
    assert set(told.notes.values()) == {"already exists"}
    assert is_whole(writable, "new/thing/another")


def test_a_manifest_is_the_last_thing_that_is_sent(store: Store, writable: WritableRegistry) -> None:
    send(store, writable)
    assert (writable.seen[-1].method, writable.seen[-1].path) == ("PUT", "/v2/new/thing/manifests/t")


def test_an_image_is_pushed_by_its_digest(store: Store, writable: WritableRegistry) -> None:
    send(store, writable, f"new/thing@{IMAGE.digest}")
    assert list(writable.manifests) == [f"new/thing/{IMAGE.digest}"]


def test_a_digest_that_is_not_the_images_is_refused(store: Store, writable: WritableRegistry) -> None:
    with pytest.raises(InvalidValue, match="that is another digest"):
        send(store, writable, f"new/thing@{digest(b'other')}")
    assert writable.seen == []


def test_an_index_is_pushed_after_its_images(store: Store, writable: WritableRegistry) -> None:
    raw = index([IMAGE])
    store.put(Descriptor(OCI_INDEX, digest(raw), len(raw)), raw)
    push.send(store, Descriptor(OCI_INDEX, digest(raw), len(raw)), reference.parse(f"{writable.address}/many:t"), SETTINGS)
    puts = [seen.path.rpartition("/")[2] for seen in writable.seen if seen.method == "PUT" and "/manifests/" in seen.path]
    assert puts == [IMAGE.digest, "t"]
    assert writable.manifests["many/t"] == (raw, OCI_INDEX)


def test_an_index_wants_the_images_that_are_not_in_the_store_from_the_registry(
    store: Store, writable: WritableRegistry
) -> None:
    other = Image((Tree().file("x", b"x").layer(),), architecture="arm64")
    raw = index([IMAGE, other])
    top = Descriptor(OCI_INDEX, digest(raw), len(raw))
    store.put(top, raw)
    target = reference.parse(f"{writable.address}/many:t")
    with pytest.raises(NotFound, match="neither in the store nor in"):
        push.send(store, top, target, SETTINGS)
    assert "many/t" not in writable.manifests
    writable.manifests[f"many/{other.digest}"] = (other.manifest, other.media["manifest"])
    assert push.send(store, top, target, SETTINGS).digest == digest(raw)


def test_a_blob_that_is_missing_in_the_store_is_an_error_before_anything_is_sent(
    store: Store, writable: WritableRegistry
) -> None:
    os.unlink(store.blob_path(BIG.digest))
    with pytest.raises(StorageError, match="not in the store"):
        send(store, writable)
    assert writable.seen == []


def test_a_blob_that_was_cut_short_in_the_store_is_an_error(store: Store, writable: WritableRegistry) -> None:
    os.truncate(store.blob_path(BIG.digest), 1000)
    with pytest.raises(StorageError, match="damaged"):
        send(store, writable)
    assert "new/thing/t" not in writable.manifests


def test_a_blob_that_is_damaged_in_the_store_is_refused_by_the_registry(store: Store, writable: WritableRegistry) -> None:
    Path(store.blob_path(BIG.digest)).write_bytes(bytes(len(BIG.data)))
    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        send(store, writable)
    assert "new/thing/t" not in writable.manifests


# Mounting


def test_a_blob_of_a_repository_beside_is_mounted(store: Store, writable: WritableRegistry) -> None:
    store.tag(f"{writable.address}/base/image:1", manifest())
    writable.mounts = {("base/image", each.digest) for each in IMAGE.layers}
    writable.blobs |= IMAGE.blobs
    told = Told()
    send(store, writable, progress=told)
    assert set(told.notes.values()) == {"mounted from base/image"}
    assert sent(writable) == len(IMAGE.config_blob)
    assert is_whole(writable)


def test_several_repositories_are_tried_and_their_uploads_given_up(store: Store, writable: WritableRegistry) -> None:
    for name in ("one", "two", "three"):
        store.tag(f"{writable.address}/{name}:1", manifest())
    writable.mounts = {("three", BIG.digest)}
    writable.blobs |= IMAGE.blobs
    told = Told()
    send(store, writable, progress=told)
    assert told.notes[BIG.digest] == "mounted from three"
    assert told.notes[SMALL.digest] == "pushed"
    assert writable.uploads == {}


def test_a_repository_that_may_not_be_read_is_not_asked_twice(store: Store, writable: WritableRegistry) -> None:
    store.tag(f"{writable.address}/secret/one:1", manifest())
    writable.fault("from=secret", fake.status(401), times=99)
    send(store, writable)
    assert is_whole(writable)
    lanes = 2  # each connection learns it for itself
    assert len(writable.asked("from=secret")) <= lanes


def test_the_names_of_other_registries_are_no_source(store: Store, writable: WritableRegistry) -> None:
    store.tag("example.com/secret/one:1", manifest())
    send(store, writable)
    assert not writable.asked("mount=")


def manifest() -> Descriptor:
    return Descriptor(IMAGE.media["manifest"], IMAGE.digest, len(IMAGE.manifest))


# Who we are


def test_the_token_is_asked_for_with_the_right_to_push_and_to_read_beside(
    store: Store, writable: WritableRegistry, home: Path
) -> None:
    store.tag(f"{writable.address}/base/image:1", manifest())
    writable.bearer, writable.login = "own", SECRET
    login(home, writable)
    send(store, writable)
    asked = writable.asked("/token")
    assert asked[0].query["scope"] == ["repository:new/thing:pull,push", "repository:base/image:pull"]
    assert asked[0].headers["authorization"].startswith("Basic ")
    assert is_whole(writable)


def test_a_token_server_that_refuses_the_neighbour_is_asked_without_it(
    store: Store, writable: WritableRegistry, home: Path
) -> None:
    store.tag(f"{writable.address}/base/image:1", manifest())
    writable.bearer = "own"
    writable.fault(urlencode({"scope": "repository:base/image:pull"}), fake.status(403))
    send(store, writable)
    assert [seen.query["scope"] for seen in writable.asked("/token")][1] == ["repository:new/thing:pull,push"]
    assert is_whole(writable)


def test_a_token_that_runs_out_in_the_middle_is_renewed_and_the_blob_sent_again(
    store: Store, writable: WritableRegistry
) -> None:
    writable.bearer = "own"
    writable.fault("PUT /v2/new/thing/blobs/uploads/", challenge(writable), takes=0)
    send(store, writable)
    assert is_whole(writable)
    assert len(writable.asked("/token")) == 2


def challenge(server: FakeRegistry) -> fake.Fault:
    return fake.status(401, WWW_Authenticate=f'Bearer realm="{server.url}/token"', Connection="close")


def test_no_right_to_push_is_said(store: Store, writable: WritableRegistry) -> None:
    writable.fault("/blobs/uploads/", fake.status(403, "DENIED", "not yours"), times=99)
    with pytest.raises(RegistryError, match=r"no right to change it.*DENIED: not yours") as caught:
        send(store, writable)
    assert "crate login" in str(caught.value.hint)
    assert writable.manifests == {}


def test_a_wrong_password_is_said_and_stays_unsaid(store: Store, writable: WritableRegistry, home: Path) -> None:
    writable.login = "name:another"
    login(home, writable)
    with pytest.raises(RegistryError, match=r"password .* was refused") as caught:
        send(store, writable)
    assert "docker/config.json" in str(caught.value.hint)
    assert "s3cr3t" not in f"{caught.value}{caught.value.hint}"


# Going on


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(upload, "_CHUNK", 500_000)
    return 500_000


def test_a_cut_blob_is_gone_on_with_in_chunks(store: Store, writable: WritableRegistry, chunks: int) -> None:
    writable.fault("PUT /v2/new/thing/blobs/uploads/", fake.hang_up, takes=1_000_000)
    writable.fault("PATCH", fake.fine)
    writable.fault("PATCH", fake.hang_up, takes=200_000)
    told = Told()
    send(store, biggest_first(writable), progress=told)
    assert is_whole(writable)
    assert sent(writable) == len(BIG.data)  # not a byte twice
    assert max(len(seen.body) for seen in writable.asked("PATCH")) == chunks
    assert told.bytes[BIG.digest] <= len(BIG.data)


def biggest_first(server: WritableRegistry) -> WritableRegistry:
    """Faults without a digest in their path would else meet the small blobs."""
    small = (SMALL.digest, IMAGE.id)
    server.blobs |= {name: IMAGE.blobs[name] for name in small}
    server.held["new/thing"] = set(small)
    return server


def test_a_registry_wants_larger_chunks(store: Store, writable: WritableRegistry, chunks: int) -> None:
    writable.least = "1200000"
    writable.fault("PUT", fake.hang_up, takes=10)
    send(store, biggest_first(writable))
    assert is_whole(writable)
    assert [len(seen.body) for seen in writable.asked("PATCH")][:2] == [1_200_000, 1_200_000]


def test_a_registry_that_cannot_go_on_gets_all_again(store: Store, writable: WritableRegistry) -> None:
    writable.resumes = False
    writable.fault("PUT", fake.hang_up, takes=1_000_000)
    send(store, biggest_first(writable))
    assert is_whole(writable)
    assert bodies(writable) == ["PUT", "PUT"]


def test_an_answer_that_was_lost_is_no_second_upload(store: Store, writable: WritableRegistry) -> None:
    writable.fault("PUT", fake.hang_up)
    send(store, biggest_first(writable))
    assert bodies(writable) == ["PUT"]
    assert is_whole(writable)


@pytest.mark.parametrize("resumes", [True, False])
def test_a_line_that_never_holds_is_an_error(store: Store, writable: WritableRegistry, resumes: bool, chunks: int) -> None:
    writable.resumes = resumes
    for method in ("PUT", "PATCH"):
        writable.fault(f"{method} /v2/new/thing/blobs/", fake.hang_up, times=99, takes=0)
    with pytest.raises(RegistryError, match="cut off 5 times, with 0 of 3"):
        send(store, biggest_first(writable))
    assert writable.manifests == {}


def test_a_registry_that_keeps_nothing_of_what_it_takes_is_an_error(
    store: Store, writable: WritableRegistry, chunks: int
) -> None:
    writable.fault("PUT", fake.hang_up, takes=100_000)
    writable.fault("GET /v2/new/thing/blobs/uploads", fake.status(200, Range="0-99999"), times=99)
    writable.fault("PATCH", fake.status(202, Location="/v2/new/thing/blobs/uploads/x", Range="0-99999"), times=99)
    with pytest.raises(RegistryError, match="kept nothing of a chunk: the blob was cut off 5 times, with 100000 of"):
        send(store, biggest_first(writable))
    assert writable.manifests == {}


def test_a_slow_line_that_brings_something_each_time_is_no_error(store: Store, writable: WritableRegistry, chunks: int) -> None:
    writable.fault("PUT", fake.hang_up, takes=2)
    writable.fault("PATCH", fake.hang_up, times=12, takes=200_000)
    send(store, biggest_first(writable))
    assert is_whole(writable)


def test_a_first_byte_is_told_from_none_by_beginning_anew(store: Store, writable: WritableRegistry, chunks: int) -> None:
    writable.fault("PUT", fake.hang_up, takes=1)  # "0-0" is what registries say of one byte and of none
    send(store, biggest_first(writable))
    assert is_whole(writable)


@pytest.mark.parametrize("number", [500, 502, 503, 408])
def test_a_fault_of_the_registrys_own_is_tried_again(store: Store, writable: WritableRegistry, number: int) -> None:
    writable.fault("PUT", fake.status(number, Connection="close"), takes=0)
    send(store, biggest_first(writable))
    assert is_whole(writable)


def test_too_many_requests_are_waited_for_as_long_as_the_registry_says(store: Store, writable: WritableRegistry) -> None:
    writable.fault("PUT /v2/new/thing/manifests/", fake.status(429, Retry_After="7"))
    send(store, biggest_first(writable))
    assert is_whole(writable)


def test_an_hour_is_not_waited(store: Store, writable: WritableRegistry) -> None:
    writable.fault("PUT", fake.status(429, "TOOMANYREQUESTS", Retry_After="3600", Connection="close"), takes=0)
    with pytest.raises(RegistryError, match="too many requests") as caught:
        send(store, biggest_first(writable))
    assert "3600" in str(caught.value.hint)


def test_an_upload_that_the_registry_has_forgotten_is_begun_anew(store: Store, writable: WritableRegistry) -> None:
    writable.fault("PUT", fake.status(404, "BLOB_UPLOAD_UNKNOWN", Connection="close"), takes=0)
    writable.fault("GET /v2/new/thing/blobs/uploads", fake.status(404))
    send(store, biggest_first(writable))
    assert is_whole(writable)


@pytest.mark.parametrize("said", ["0-99999999999", "0-x", "5-10", "bytes 0-3", ""])
def test_a_registry_that_says_nonsense_of_what_it_has_gets_all_again(
    store: Store, writable: WritableRegistry, said: str
) -> None:
    writable.fault("PUT", fake.hang_up, takes=1_000_000)
    writable.fault("GET /v2/new/thing/blobs/uploads", fake.header(Range=said))
    send(store, biggest_first(writable))
    assert is_whole(writable)


def test_a_push_that_was_killed_is_gone_on_with(store: Store, writable: WritableRegistry) -> None:
    began = begin_stalled(store, writable)
    wait_until(lambda: len(workers(began)) and writable.held.get("new/thing", set()) >= {SMALL.digest})
    kill_with_workers(began)
    assert writable.manifests == {}
    writable.seen.clear()
    writable.rules.clear()
    told = Told()
    send(store, writable, progress=told)
    assert told.notes[SMALL.digest] == "already exists"
    assert is_whole(writable)


def begin_stalled(store: Store, writable: WritableRegistry) -> int:
    """Begin a push, of which the large blob is not answered."""

    def silent(_handler: fake.Handler, _answer: fake.Answer) -> None:
        threading.Event().wait(20)

    writable.fault(urlencode({"digest": BIG.digest}), silent)
    return begin(lambda: send(store, writable))


# Where it leads


def test_an_upload_elsewhere_gets_no_credential(store: Store, writable: WritableRegistry, home: Path) -> None:
    writable.login = SECRET
    login(home, writable)
    with WritableRegistry() as elsewhere:
        elsewhere.uploads["here"] = bytearray()
        writable.fault("POST", fake.header(Location=f"{elsewhere.url}/v2/new/thing/blobs/uploads/here?signed=yes"))
        writable.fault("HEAD", fake.fine)
        with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
            send(store, biggest_first(writable))
        assert bodies(elsewhere) == ["PUT"]
        assert elsewhere.seen[0].query["signed"] == ["yes"]
        assert not [seen for seen in elsewhere.seen if "authorization" in seen.headers]


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://[fe80::1]/x", "http://100.100.100.200/"])
def test_an_upload_at_a_metadata_address_is_refused(store: Store, writable: WritableRegistry, target: str) -> None:
    writable.fault("POST", fake.header(Location=target))
    with pytest.raises(RegistryError, match="link-local or metadata"):
        send(store, biggest_first(writable))


def test_an_upload_is_not_led_from_https_to_http(
    store: Store, home: Path, clock: Clock, authority: Path, tmp_path: Path, other: FakeRegistry
) -> None:
    with WritableRegistry(tls=authority) as secure:
        place = tmp_path / "certs.d" / secure.address
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
        secure.fault("POST", fake.header(Location=f"{other.url}/v2/new/thing/blobs/uploads/x"))
        target = reference.parse(f"{secure.address}/new/thing:t")
        with pytest.raises(RegistryError, match="plain http"):
            push.send(store, manifest(), target, Settings(certificates=(str(tmp_path / "certs.d"),)))
        assert other.seen == []


def test_a_redirected_manifest_is_followed_without_the_credential(store: Store, writable: WritableRegistry, home: Path) -> None:
    writable.login = SECRET
    login(home, writable)
    with WritableRegistry() as elsewhere:
        elsewhere.held["new/thing"] = set(IMAGE.blobs)
        writable.fault("PUT /v2/new/thing/manifests", fake.redirect(elsewhere.url + "{path}"))
        send(store, writable)
        assert elsewhere.manifests["new/thing/t"][0] == IMAGE.manifest
        assert "authorization" not in elsewhere.seen[0].headers


def test_an_endless_redirect_of_a_manifest_is_refused(store: Store, writable: WritableRegistry) -> None:
    writable.fault("/manifests/t", fake.redirect("{path}"), times=99)
    with pytest.raises(RegistryError, match="redirected more than"):
        send(store, writable)


def test_a_registry_that_keeps_another_manifest_is_found_out(store: Store, writable: WritableRegistry) -> None:
    writable.fault("PUT /v2/new/thing/manifests/", fake.header(Docker_Content_Digest=digest(b"another")))
    with pytest.raises(Untrusted, match="the manifest that the registry keeps"):
        send(store, writable)


def test_a_manifest_that_is_refused_is_said(store: Store, writable: WritableRegistry) -> None:
    writable.fault("PUT /v2/new/thing/manifests/", fake.status(400, "MANIFEST_INVALID", "no such form"))
    with pytest.raises(RegistryError, match=r"did not take manifest t .*MANIFEST_INVALID: no such form"):
        send(store, writable)


def test_an_answer_without_a_place_is_an_error(store: Store, writable: WritableRegistry) -> None:
    writable.fault("POST", fake.header(Location=""))
    with pytest.raises(RegistryError, match="does not say where the upload is"):
        send(store, biggest_first(writable))


# Parts


def test_blobs_are_divided_by_their_sizes() -> None:
    sizes = [50, 30, 20, 10, 10]
    found = push.lanes([Descriptor("m", digest(bytes([n])), size) for n, size in enumerate(sizes)], 2)
    assert sorted(sum(each.size for each in lane) for lane in found) == [60, 60]


def test_there_are_no_more_lanes_than_blobs() -> None:
    assert len(push.lanes([Descriptor("m", digest(b""), 1)], 5)) == 1
