"""The store when the disk is full, when it is killed, and when many use it at once."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest
from craft import CraftedImage, archive, digest, entry, left, take, tree_tar
from inside import IS_ROOT

from cratebox.errors import CrateError, NotFound, StorageError
from cratebox.image import blobs
from cratebox.image.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"), userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record")


@pytest.mark.parametrize("call", ["pwrite", "fsync", "rename", "mkdir", "open", "utime", "link"])
def test_a_full_disk_at_any_call_is_told_and_nothing_half_is_taken_for_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    raw = archive(entry(b"d/", kind=b"5"), entry(b"d/f", b"x" * 5000), entry(b"h", kind=b"1", link=b"d/f"))
    image = CraftedImage(raw)
    store.prepare()
    real, failures = getattr(os, call), 0
    for allowed in range(100):
        calls = iter(range(1_000_000))

        def full(*args: object, **options: object) -> object:
            if next(calls) == allowed:  # noqa: B023
                raise OSError(errno.ENOSPC, "No space left on device", str(args[0]))
            return real(*args, **options)

        monkeypatch.setattr(os, call, full)
        try:
            take(store, image)
        except StorageError as error:
            failures += 1
            monkeypatch.setattr(os, call, real)
            _check(store, error)
        else:
            break
        finally:
            monkeypatch.setattr(os, call, real)
    assert failures
    assert (Path(store.layer_directories(store.find("alpine"))[0]) / "d/f").read_bytes() == b"x" * 5000


def _check(store: Store, error: StorageError) -> None:
    assert "no space left on the disk" in error.message.lower() or "No space left" in error.message
    for name in left(store):
        assert ".new" not in name, name
        if name.startswith("blobs/sha256/"):
            assert digest(Path(store.directory, name).read_bytes())[7:] == name[13:]
    for image in store.images():
        store.layer_directories(image)


def test_a_pull_killed_at_any_moment_leaves_a_store_that_works(store: Store) -> None:
    image = CraftedImage(*(tree_tar({f"{n}/{m}": os.urandom(3000) for m in range(60)}) for n in range(3)))
    store.prepare()
    killed = 0
    for number in range(24):
        pid = os.fork()
        if pid == 0:
            try:
                take(store, image)
            finally:
                os._exit(0)
        time.sleep(0.004 * number)
        os.kill(pid, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        for found in store.images():
            assert len(store.layer_directories(found)) == 3
        if number % 3 == 2:
            store.collect(partial=True)
            assert not any(".new" in name or ".partial" in name for name in left(store))
    assert killed
    for number, directory in enumerate(store.layer_directories(take(store, image))):
        assert len(os.listdir(f"{directory}/{number}")) == 60
    store.remove("alpine")
    assert left(store) == []


def test_many_processes_tag_at_once_and_no_name_is_lost(store: Store) -> None:
    image = CraftedImage(tree_tar({"f": b"x"}))
    take(store, image)
    pids = []
    for number in range(16):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                take(store, image, f"docker.io/a/b:{number}")
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 16
    assert len(store.find(image.id).names) == 17


def test_pulls_and_removals_at_once_fail_by_not_found_only(store: Store) -> None:
    image = CraftedImage(tree_tar({"f": b"x"}), tree_tar({"g": b"y"}))
    until = time.monotonic() + 2
    store.prepare()
    pids = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            _pull_or_remove(store, image, number % 2 == 0, until)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    assert len(store.layer_directories(take(store, image))) == 2


def _pull_or_remove(store: Store, image: CraftedImage, pulls: bool, until: float) -> None:
    code = 1
    try:
        while time.monotonic() < until:
            try:
                if pulls:
                    take(store, image)
                else:
                    store.remove("alpine")
            except NotFound:
                assert not pulls
        code = 0
    except CrateError as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def test_replacing_a_file_leaves_the_old_one_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.json"
    path.write_text("old")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        blobs.replace_file(str(path), b"new")
    assert path.read_text() == "old"
