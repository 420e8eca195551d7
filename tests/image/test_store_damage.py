"""The store: what is found when it is damaged, lost or somebody else's, and the store of an ordinary user."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from craft import CraftedImage, archive, crafted, describe, digest, entry, feed, left, take
from inside import IS_ROOT, USER, run_as_user

from cratebox.errors import RegistryError, StorageError
from cratebox.image import verifying
from cratebox.image.manifest import Descriptor
from cratebox.image.store import Store

CONTENTS = {"empty": b"", "text": b"no json", "list": b"[]", "wrong": b'{"manifests":[{"digest":"../x"}]}'}


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(CONTENTS[how])


@pytest.mark.parametrize("how", ["empty", "text", "list", "wrong"])
def test_a_damaged_index_is_an_error_that_names_the_file(store: Store, how: str) -> None:
    take(store, crafted("x"))
    damage(Path(store.directory, "index.json"), how)
    uses: list[Callable[[], object]] = [
        store.images,
        lambda: store.find("alpine"),
        store.collect,
        lambda: store.remove("alpine"),
        lambda: store.untag("x"),
    ]
    for use in uses:
        with pytest.raises(StorageError, match=r"index\.json"):
            use()


@pytest.mark.parametrize("which", ["config", "manifest"])
@pytest.mark.parametrize("how", ["empty", "text", "list", "wrong", "gone"])
def test_a_damaged_document_is_named_and_its_image_can_be_removed(store: Store, which: str, how: str) -> None:
    image = crafted("x")
    take(store, image)
    encoded = digest(image.config if which == "config" else image.manifest)[7:]
    damage(Path(store.directory, "blobs/sha256", encoded), how)
    with pytest.raises(StorageError, match=encoded):
        store.find("alpine")
    with pytest.raises(StorageError, match=encoded):
        store.collect()
    store.remove("alpine")
    assert left(store) == []


@pytest.mark.parametrize("how", ["text", "list", "wrong"])
def test_a_damaged_record_of_a_layer_is_named_and_restore_mends_it(store: Store, how: str) -> None:
    found = take(store, crafted("x"))
    path = Path(store.layer_directories(found)[0]).parent / "layer.json"
    damage(path, how)
    with pytest.raises(StorageError, match=r"layer\.json"):
        store.layer_directories(found)
    store.restore(found)
    assert (Path(store.layer_directories(found)[0]) / "file0").read_text() == "x"


@pytest.mark.parametrize("how", ["gone", "empty", "other boot"])
def test_a_layer_that_the_power_took_is_unpacked_again_from_its_blob(store: Store, how: str) -> None:
    found = take(store, crafted("x"))
    path = Path(store.layer_directories(found)[0]).parent / "layer.json"
    if how == "other boot":
        path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))
    else:
        damage(path, how)
    (path.parent / "fs/file0").write_text("")
    again = Store(store.directory, userxattr=store.userxattr, owners=store.owners)
    assert (Path(again.layer_directories(found)[0]) / "file0").read_text() == "x"


def test_a_settled_layer_survives_a_reboot(store: Store) -> None:
    found = take(store, crafted("x"))
    store.settle()
    again = Store(store.directory, userxattr=store.userxattr)
    again._layers._boot = "the next boot"
    (directory,) = again.layer_directories(found)
    assert json.loads((Path(directory).parent / "layer.json").read_text())["boot"] == ""


def test_settling_later_holds_no_lock_and_is_done_soon(store: Store) -> None:
    found = take(store, crafted("x"))
    with store.using():
        store.settle_later()
    assert not store.collect().deferred
    path = Path(store.layer_directories(found)[0]).parent / "layer.json"
    deadline = time.monotonic() + 30
    while json.loads(path.read_text())["boot"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(path.read_text())["boot"] == ""


def test_a_layer_that_is_lost_with_its_blob_is_an_error_that_says_what_to_do(store: Store) -> None:
    image = crafted("x")
    found = take(store, image)
    damage(Path(store.layer_directories(found)[0]).parent / "layer.json", "gone")
    damage(Path(store.directory, "blobs/sha256", digest(image.blobs[0])[7:]), "gone")
    with pytest.raises(StorageError, match="is lost") as caught:
        store.layer_directories(found)
    assert "pull it again" in str(caught.value.hint)


@pytest.mark.skipif(not IS_ROOT, reason="needs root to own a store that another user then uses")
def test_a_store_that_belongs_to_somebody_else_is_refused(open_path: Path) -> None:
    store = Store(str(open_path / "images"), userxattr=False, owners="keep")
    store.prepare()
    os.chmod(store.directory, 0o755)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresuid(USER, USER, USER)
            Store(store.directory).using()
        except StorageError as error:
            code = 0 if "belongs to uid 0" in error.message else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# Rootless.


@pytest.mark.skipif(not IS_ROOT, reason="needs root to give an ordinary user subordinate ids")
def test_an_ordinary_users_store_unpacks_and_deletes_the_files_of_subordinate_ids(open_path: Path) -> None:
    home = open_path / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    raw = archive(entry(b"d/", kind=b"5", uid=33, gid=33, mode=0o700), entry(b"d/f", b"x", uid=33, gid=33, mode=0o600))

    def work() -> tuple[int, list[str]]:
        store = Store(str(home / "images"), lambda job: job(), userxattr=True)
        (directory,) = store.layer_directories(take(store, CraftedImage(raw)))
        uid = os.stat(directory + "/d/f").st_uid
        store.remove("alpine")
        return uid, [name for name in left(store) if name.startswith("layers")]

    assert run_as_user(work, one_id=False) == (33, [])


def test_errors_cross_the_hook_as_what_they_were(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "images"), lambda work: work())
    image = crafted("x")

    class OwnError(RegistryError):
        """A kind that errors.py does not know."""

    def unreachable(_offset: int) -> Iterator[bytes]:
        raise OwnError("no answer", "try again")
        yield b""

    with pytest.raises(RegistryError, match="no answer") as caught:
        store.ingest(describe(image.layer_type, image.blobs[0]), image.diff_ids[0], unreachable)
    assert caught.value.hint == "try again"


def test_a_hook_that_dies_is_an_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "images"), lambda _work: b"")
    image = crafted("x")
    with pytest.raises(StorageError, match="without an answer"):
        store.ingest(describe(image.layer_type, image.blobs[0]), image.diff_ids[0], feed(image.blobs[0]))


def test_an_image_that_is_removed_while_it_is_checked_is_not_called_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(store, crafted("x"))
    looked_at = verifying.Verifier._image

    def meanwhile(self: verifying.Verifier, entries: list[Descriptor]) -> Iterator[verifying.Damage]:
        store.remove("alpine")
        yield from looked_at(self, entries)

    verifier = verifying.Verifier(store, set(), (), lambda *_what: None, quick=False)
    monkeypatch.setattr(verifying.Verifier, "_image", meanwhile)
    assert list(verifier.damages()) == []
