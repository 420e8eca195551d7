"""Pulling: what is fetched, what is not, and what is left after each way it can go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_registry as fake
import pytest
from clients import IMAGE, SECRET, Clock, login
from fake_registry import FakeRegistry
from inside import IS_ROOT

from cratebox.errors import CrateError, NotFound, RegistryError, StorageError, Unsupported, Untrusted
from cratebox.image import platform as platforms
from cratebox.image import transport
from cratebox.image.blobs import Blobs
from cratebox.image.pull import bring, worker_count
from cratebox.image.settings import Settings
from cratebox.image.store import Store, StoredImage
from support.images import Image, Layer, Tree, digest

NOISE = os.urandom(3_000_000)
BIG = Tree().file("noise", NOISE).layer()
THREE = Image((Tree().file("one", b"1").layer(), BIG, Tree().file("three", b"3").layer()))


class Record:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.layers: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self.notes: dict[str, str] = {}
        self.messages: list[str] = []

    def layer(self, digest: str, total_bytes: int) -> None:
        self.layers[digest] = total_bytes

    def advance(self, digest: str, n_bytes: int) -> None:
        self.bytes[digest] = self.bytes.get(digest, 0) + n_bytes

    def done(self, digest: str, note: str) -> None:
        self.notes[digest] = note

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "store")


def new_store(directory: Path) -> Store:
    return Store(str(directory), userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record")


def fetch(
    store: Store, name: str, platform: str | None = None, progress: Record | None = None, settings: Settings | None = None
) -> StoredImage:
    wanted = platforms.parse(platform or "linux/amd64")
    return bring(store, transport.parse(name), wanted, settings or Settings(certificates=()), progress).image


def content(store: Store, image: StoredImage, name: str) -> bytes:
    found = [Path(directory, name) for directory in store.layer_directories(image)]
    return next(path for path in reversed(found) if path.exists()).read_bytes()


def litter(store: Store) -> list[str]:
    """Return what a failed pull may not leave: anything that looks whole, and half-made trees."""
    root = Path(store.directory)
    blobs = [path.name for path in root.glob("blobs/*/*")]
    return blobs + [path.name for path in root.glob("layers/*")] + [path.name for path in root.glob("layers/.new-*")]


def unnamed(store: Store) -> list[str]:
    return os.listdir(store.directory + "/blobs/.partial")


# What comes


def test_layers_come_over_a_few_connections(server: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(fake._Server, "verify_request", lambda _self, _request, address: made.append(address) or True)
    many = Image(tuple(Tree().file(f"file-{number}", b"x" * number).layer() for number in range(1, 31)))
    image = fetch(store, server.put("a/c:t", many))
    assert len(image.layers) == 30
    # One of ours for the manifest and the config, one that asks whether it is TLS, and one for each process.
    assert len(made) <= worker_count() + 2


def test_an_image_is_pulled_whole(server: FakeRegistry, store: Store) -> None:
    image = fetch(store, server.put("a/c:t", THREE))
    assert (image.id, image.names) == (THREE.id, (f"{server.address}/a/c:t",))
    assert [content(store, image, name) for name in ("one", "noise", "three")] == [b"1", NOISE, b"3"]


def test_docker_images_are_pulled_as_well(server: FakeRegistry, store: Store) -> None:
    image = fetch(store, server.put("a/c:t", THREE.as_docker()))
    assert content(store, image, "noise") == NOISE


def test_progress_tells_every_layer_and_every_byte(server: FakeRegistry, store: Store) -> None:
    told = Record()
    fetch(store, server.put("a/c:t", THREE), progress=told)
    sizes = {layer.digest: len(layer.data) for layer in THREE.layers}
    assert (told.layers, told.bytes) == (sizes, sizes)
    assert set(told.notes.values()) == {"done"}


def test_an_image_comes_over_tls_with_a_token(secure: FakeRegistry, store: Store, trusting: Settings, home: Path) -> None:
    secure.login, secure.bearer = SECRET, "own"
    login(home, secure)
    name = secure.put("a/c:t", THREE)
    assert fetch(store, name, settings=trusting).id == THREE.id
    assert len(secure.asked("/token")) == 1


WIDE = Image((*(Tree().file(f"file-{number}", b"%d" % number).layer() for number in range(70)), BIG))


def test_small_layers_get_their_names_together(server: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each when it is on the disk, and none has a name before: a crash leaves whole downloads that are no blobs yet."""
    name, together, before = server.put("a/b:t", WIDE), Blobs.commit_together, []

    def looked_at(self: Blobs, descriptors: Any) -> None:
        found = list(descriptors)
        before.extend((self.has(each.digest), os.path.getsize(self.partial(each.digest)) == each.size) for each in found)
        together(self, found)

    monkeypatch.setattr(Blobs, "commit_together", looked_at)
    assert fetch(store, name).id == WIDE.id
    assert before == [(False, True)] * 70
    assert unnamed(store) == []
    assert all(store.has_blob(layer.digest) for layer in WIDE.layers)


def test_what_waited_for_its_name_when_a_pull_ended_is_not_fetched_again(
    server: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_self: Blobs, _descriptors: Any) -> None:
        raise StorageError("the power went")

    name = server.put("a/b:t", WIDE)
    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "commit_together", ended)
        with pytest.raises(StorageError, match="the power went"):
            fetch(store, name)
    assert store.images() == []
    damaged = Path(Blobs(store.directory).partial(WIDE.layers[3].digest))
    damaged.write_bytes(bytes(damaged.stat().st_size))
    server.seen.clear()
    assert fetch(store, name).id == WIDE.id
    assert [layer.digest for layer in WIDE.layers if server.asked(layer.digest)] == [WIDE.layers[3].digest]
    assert unnamed(store) == []


def test_a_layer_that_stands_twice_is_fetched_once(server: FakeRegistry, store: Store) -> None:
    layer = Tree().file("one", b"1").layer()
    fetch(store, server.put("a/c:t", Image((layer, layer))))
    assert len(server.asked(layer.digest)) == 1


def test_a_name_with_tag_and_digest_is_fetched_by_digest(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    image = fetch(store, f"{name}@{THREE.digest}")
    assert image.repo_digests == (f"{server.address}/a/c@{THREE.digest}",)
    assert not server.asked("manifests/t")


# Indexes and platforms


def both() -> list[Image]:
    return [Image(THREE.layers, architecture="arm64", variant="v8"), THREE]


@pytest.mark.parametrize(("platform", "chosen"), [("linux/arm64", 0), ("linux/amd64", 1)])
def test_an_index_gives_the_image_of_the_platform(server: FakeRegistry, store: Store, platform: str, chosen: int) -> None:
    image = fetch(store, server.put_index("a/c:t", both()), platform)
    assert image.id == both()[chosen].id


def test_a_platform_that_is_not_there_lists_those_that_are(server: FakeRegistry, store: Store) -> None:
    with pytest.raises(NotFound, match="has no image for linux/s390x") as caught:
        fetch(store, server.put_index("a/c:t", both()), "linux/s390x")
    assert caught.value.hint == "it has: linux/amd64, linux/arm64/v8"


def test_an_image_without_an_index_for_another_platform_is_refused(server: FakeRegistry, store: Store) -> None:
    other = "linux/s390x"
    with pytest.raises(NotFound, match="is for linux/amd64, not for linux/s390x"):
        fetch(store, server.put("a/c:t", THREE), other)
    assert not litter(store)[1:]  # the config, which told


def test_an_index_within_an_index_is_refused(server: FakeRegistry, store: Store) -> None:
    inner = server.put_index("a/c:inner", [THREE])
    raw, media_type = server.manifests["a/c/inner"]
    server.put_document(f"a/c:{digest(raw)}", raw, media_type)
    entry = {
        "mediaType": media_type,
        "digest": digest(raw),
        "size": len(raw),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    outer = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}).encode()
    with pytest.raises(Unsupported, match="index within an index"):
        fetch(store, server.put_document("a/c:t", outer, media_type))
    assert inner


def test_what_is_no_container_image_is_said_to_be_none(server: FakeRegistry, store: Store) -> None:
    document = json.loads(THREE.manifest)
    document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    with pytest.raises(Unsupported, match="not a container image"):
        fetch(store, server.put_document("a/c:t", json.dumps(document).encode(), fake.MANIFEST))


# What is there already


def test_an_image_that_is_there_costs_one_head(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    fetch(store, name)
    server.seen.clear()
    told = Record()
    assert fetch(store, name, progress=told).id == THREE.id
    assert [seen.method for seen in server.asked("/a/c/")] == ["HEAD"]
    assert set(told.notes.values()) == {"already exists"}


def test_an_index_that_is_there_costs_one_head(server: FakeRegistry, store: Store) -> None:
    name = server.put_index("a/c:t", both())
    fetch(store, name)
    server.seen.clear()
    fetch(store, name)
    assert [seen.method for seen in server.asked("/a/c/")] == ["HEAD"]


def test_a_digest_that_is_there_asks_nobody(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE).replace(":t", f"@{THREE.digest}")
    fetch(store, name)
    server.seen.clear()
    fetch(store, name)
    assert not server.seen


def test_layers_that_another_image_has_are_not_fetched(server: FakeRegistry, store: Store) -> None:
    fetch(store, server.put("a/c:t", THREE))
    server.seen.clear()
    more = Image((*THREE.layers, Tree().file("four", b"4").layer()))
    told = Record()
    fetch(store, server.put("a/c:more", more), progress=told)
    assert len([seen for seen in server.asked("/blobs/") if more.layers[3].digest not in seen.path]) == 1  # the config
    assert sorted(told.notes.values()) == ["already exists"] * 3 + ["done"]


def test_a_tag_that_moved_is_followed(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    fetch(store, name)
    server.put("a/c:t", IMAGE)
    assert fetch(store, name).id == IMAGE.id
    assert store.find(name).id == IMAGE.id


def test_another_platform_of_a_name_that_is_there_is_fetched(server: FakeRegistry, store: Store) -> None:
    name = server.put_index("a/c:t", both())
    fetch(store, name, "linux/amd64")
    assert fetch(store, name, "linux/arm64").id == both()[0].id


# Lies


def wrong(data: bytes) -> bytes:
    return data[:-9] + bytes(byte ^ 1 for byte in data[-9:])


@pytest.mark.parametrize("change", [wrong, lambda data: wrong(data[:10])[:9] + data[9:], lambda data: bytes(len(data))])
def test_wrong_bytes_of_a_layer_are_refused(server: FakeRegistry, store: Store, change: Callable[[bytes], bytes]) -> None:
    server.fault(BIG.digest, fake.body(change), times=9)
    with pytest.raises(Untrusted, match=BIG.digest):
        fetch(store, server.put("a/c:t", THREE))
    assert BIG.digest.partition(":")[2] not in litter(store)
    assert BIG.diff_id.partition(":")[2] not in litter(store)
    assert not [name for name in litter(store) if name.startswith(".new-")]
    assert store.images() == []


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1]])
def test_a_wrong_length_of_a_layer_is_refused(server: FakeRegistry, store: Store, change: Callable[[bytes], bytes]) -> None:
    server.fault(BIG.digest, fake.body(change), times=9)
    with pytest.raises(Untrusted, match="announced"):
        fetch(store, server.put("a/c:t", THREE))
    assert store.images() == []


def test_a_config_that_lies_about_a_layer_is_refused(server: FakeRegistry, store: Store) -> None:
    lying = Image((Layer(BIG.data, digest(b"another")),))
    with pytest.raises(Untrusted, match="not what the image's config says"):
        fetch(store, server.put("a/c:t", lying))
    assert store.images() == []


def test_a_config_with_too_few_layers_is_refused(server: FakeRegistry, store: Store) -> None:
    document = json.loads(THREE.manifest)
    document["layers"].pop()
    server.put("a/c:x", THREE)
    name = server.put_document("a/c:t", json.dumps(document).encode(), fake.MANIFEST)
    with pytest.raises(Untrusted, match="has 2 layers, but its config tells of 3"):
        fetch(store, name)


def test_wrong_bytes_of_the_config_are_refused(server: FakeRegistry, store: Store) -> None:
    server.fault(THREE.id, fake.body(wrong), times=9)
    with pytest.raises(Untrusted):
        fetch(store, server.put("a/c:t", THREE))
    assert litter(store) == []


def test_a_hostile_layer_is_refused_and_the_others_are_ended(server: FakeRegistry, store: Store, tmp_path: Path) -> None:
    evil = Tree().file("../../../../../../escaped", b"x").layer()
    with pytest.raises(Untrusted):
        fetch(store, server.put("a/c:t", Image((BIG, evil))))
    assert not (tmp_path / "escaped").exists()
    assert not [name for name in litter(store) if name.startswith(".new-")]


# Going on


def test_a_cut_layer_is_resumed(server: FakeRegistry, store: Store) -> None:
    server.fault(BIG.digest, fake.cut(1_000_000))
    image = fetch(store, server.put("a/c:t", THREE))
    assert content(store, image, "noise") == NOISE
    assert "range" in server.asked(BIG.digest)[1].headers


@pytest.mark.parametrize("ranges", [True, False])
def test_a_pull_goes_on_where_another_was_cut_off(server: FakeRegistry, store: Store, ranges: bool) -> None:
    name = server.put("a/c:t", THREE)
    server.fault(BIG.digest, fake.cut(1_000_000))
    server.fault(BIG.digest, fake.status(404), times=1)
    with pytest.raises(RegistryError):
        fetch(store, name)
    server.seen.clear()
    server.ranges = ranges
    told = Record()
    image = fetch(store, name, progress=told)
    assert content(store, image, "noise") == NOISE
    assert int(server.asked(BIG.digest)[0].headers["range"].strip("bytes=-")) >= 500_000
    assert told.bytes[BIG.digest] == len(BIG.data)


def test_a_damaged_part_of_an_earlier_pull_is_fetched_again(server: FakeRegistry, store: Store) -> None:
    store.prepare()
    partial = Path(store.directory, "blobs/.partial", BIG.digest.replace(":", "-"))
    partial.write_bytes(b"\0" * 1_000_000)
    image = fetch(store, server.put("a/c:t", THREE))
    assert content(store, image, "noise") == NOISE
    assert ["range" in seen.headers for seen in server.asked(BIG.digest)] == [True, False]


def test_the_other_layers_of_a_failed_pull_are_kept(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    last = THREE.layers[2]
    server.fault(last.digest, fake.status(404), times=1)
    server.fault(THREE.layers[0].digest, fake.fine)
    with pytest.raises(RegistryError):
        fetch(store, name)
    whole = set(litter(store))
    server.seen.clear()
    fetch(store, name)
    assert all(seen.path.rpartition(":")[2] not in whole for seen in server.asked("GET /v2/a/c/blobs/"))


def test_an_interrupt_keeps_what_has_come(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    going_on = threading.Event()
    server.fault(BIG.digest, fake.stall(2_000_000, 60, going_on))
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            fetch(store, name)
        except KeyboardInterrupt:
            os._exit(42)
        except BaseException:
            os._exit(1)
        os._exit(0)
    partial = Path(store.directory, "blobs/.partial", BIG.digest.replace(":", "-"))
    wait_until(lambda: partial.exists() and partial.stat().st_size >= 900_000)
    os.kill(pid, signal.SIGINT)
    wait_until(lambda: is_gone(str(pid)))  # while the registry still sends nothing
    going_on.set()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
    assert not [name for name in litter(store) if name.startswith(".new-")]
    server.seen.clear()
    assert content(store, fetch(store, name), "noise") == NOISE
    assert int(server.asked(BIG.digest)[0].headers["range"].strip("bytes=-")) >= 900_000


def test_workers_do_not_outlive_a_killed_pull(server: FakeRegistry, store: Store) -> None:
    going_on = threading.Event()
    server.fault(BIG.digest, fake.stall(2_000_000, 60, going_on))
    name = server.put("a/c:t", THREE)
    pid = os.fork()
    if pid == 0:
        try:
            fetch(store, name)
        finally:
            os._exit(1)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    partial = Path(store.directory, "blobs/.partial", BIG.digest.replace(":", "-"))
    wait_until(lambda: partial.exists() and partial.stat().st_size >= 900_000 and len(children.read_text().split()) == 1)
    worker = children.read_text().split()[0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: is_gone(worker))
    going_on.set()
    assert fetch(store, name).id == THREE.id


def is_gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Side by side


@pytest.mark.parametrize("image", [THREE, WIDE])
def test_several_pulls_of_one_image_make_one_download(server: FakeRegistry, store: Store, tmp_path: Path, image: Image) -> None:
    name = server.put("a/c:t", image)
    children = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if fetch(new_store(tmp_path / "store"), name).id == image.id else 2
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 6
    assert {len(server.asked(layer.digest)) for layer in image.layers} == {1}
    assert unnamed(store) == []


def test_a_pull_may_run_beside_threads(server: FakeRegistry, store: Store) -> None:
    found: list[StoredImage] = []
    thread = threading.Thread(target=lambda: found.append(fetch(store, server.put("a/c:t", THREE))))
    thread.start()
    thread.join()
    assert found[0].id == THREE.id


def test_no_process_and_no_descriptor_is_left(server: FakeRegistry, store: Store) -> None:
    server.fault(BIG.digest, fake.status(404))
    with pytest.raises(RegistryError):
        fetch(store, server.put("a/d:t", THREE))
    before, children = pipes(), offspring()
    fetch(store, server.put("a/c:t", THREE))
    assert pipes() == before
    assert offspring() <= children  # a registry of another test's may be among them


def offspring() -> set[str]:
    """The processes that this one has started and not yet reaped."""
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread of the fake registry has ended meanwhile
            found.update(Path(f"/proc/self/task/{task}/children").read_text().split())
    return found


def pipes() -> list[str]:
    """The threads of the fake registry open and close sockets as they like; pipes and files are the pull's."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(link for link in links if not link.startswith(("socket:", "/proc/")))


# Failures of the machine


def test_a_full_disk_is_a_clear_error(server: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    store.prepare()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="no space left"):
        fetch(store, server.put("a/c:t", Image((BIG,))))


def test_a_worker_that_is_killed_is_an_error(server: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "ingest", lambda *_arguments, **_settings: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(CrateError, match="was ended by signal 9"):
        fetch(store, server.put("a/c:t", THREE))


def test_a_directory_is_not_pulled(store: Store) -> None:
    with pytest.raises(Unsupported):
        fetch(store, "rootfs:/")


@pytest.fixture(autouse=True)
def quick(clock: Clock) -> Iterator[None]:
    yield
    assert clock.slept == [] or max(clock.slept) <= 15
