"""Deleting trees: nothing outside of them, and nothing mounted in them, is touched."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from craft import fingerprint
from inside import IS_ROOT, run_as_user

from cratebox.image import tree
from cratebox.linux import const, mount
from cratebox.linux.namespaces import unshare

needs_mounts = pytest.mark.skipif(not IS_ROOT, reason="needs root to mount")


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A tree beside the one that is deleted: the same before and after."""
    canary = tmp_path / "canary"
    (canary / "deep/deeper").mkdir(parents=True)
    (canary / "deep/deeper/file").write_text("precious")
    (canary / "file").write_text("precious")
    before = fingerprint(canary)
    yield canary
    assert fingerprint(canary) == before


@pytest.fixture
def doomed(tmp_path: Path) -> Path:
    doomed = tmp_path / "doomed"
    for name in ("a/b/c", "a/x", "y"):
        (doomed / name).mkdir(parents=True)
        (doomed / name / "file").write_text("")
    return doomed


def remove(path: Path) -> None:
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        tree.remove(parent, path.name)
    finally:
        os.close(parent)


def in_a_child(work: Callable[[], None]) -> None:
    """Run `work` in a process with mounts of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            unshare(const.CLONE_NEWNS)
            mount.mount("", "/", flags=const.MS_PRIVATE | const.MS_REC)
            work()
            code = 0
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_tree_is_deleted_with_what_is_in_it(doomed: Path, canary: Path) -> None:
    (doomed / "a/b/link").symlink_to(canary)
    (doomed / "a/b/dangling").symlink_to("nowhere")
    os.mkfifo(doomed / "y/fifo")
    remove(doomed)
    assert not doomed.exists()


def test_a_symlink_is_deleted_and_not_what_it_names(tmp_path: Path, canary: Path) -> None:
    (tmp_path / "link").symlink_to(canary)
    remove(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()


@needs_mounts
@pytest.mark.parametrize("where", ["", "a", "a/b/c"])
def test_what_is_mounted_in_a_tree_is_not_emptied(doomed: Path, canary: Path, where: str) -> None:
    def work() -> None:
        mount.mount(str(canary), str(doomed / where), flags=const.MS_BIND)
        with pytest.raises(OSError, match="something is mounted there") as caught:
            remove(doomed)
        assert caught.value.errno == errno.EBUSY

    in_a_child(work)
    assert (doomed / where).is_dir()
    remove(doomed)


@needs_mounts
def test_a_mounted_file_is_not_deleted(doomed: Path, canary: Path) -> None:
    def work() -> None:
        mount.mount(str(canary / "file"), str(doomed / "a/b/c/file"), flags=const.MS_BIND)
        with pytest.raises(OSError) as caught:
            remove(doomed)
        assert caught.value.errno == errno.EBUSY

    in_a_child(work)


def test_a_directory_that_becomes_a_symlink_leads_nowhere(doomed: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at `a` and the step into it, it is swapped."""
    real = tree._enter

    def swapped(parent: int, name: str | bytes) -> int:
        if name == "a":
            (doomed / "a").rename(doomed.parent / "away")
            (doomed / "a").symlink_to(canary)
        return real(parent, name)

    monkeypatch.setattr(tree, "_enter", swapped)
    with pytest.raises(OSError):
        remove(doomed)


def test_a_directory_that_is_moved_away_does_not_lead_up_to_others(
    doomed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From inside a/b, ".." is another directory by now, which has the names in it that are still to be deleted."""
    other, moved = tmp_path / "other", []
    for name in ("b", "x"):
        (other / name).mkdir(parents=True)
        (other / name / "precious").write_text("")
    real = tree._empty_of_files

    def moving(directory: int) -> list[str]:
        inside = Path(os.readlink(f"/proc/self/fd/{directory}"))
        if inside.parent == doomed / "a" and not moved:
            moved.append(inside.rename(other / "guest"))
        return real(directory)

    monkeypatch.setattr(tree, "_empty_of_files", moving)
    with pytest.raises(OSError, match="moved"):
        remove(doomed)
    assert moved
    assert (other / "b/precious").exists()
    assert (other / "x/precious").exists()


def test_swaps_without_end_lead_nowhere(tmp_path: Path, canary: Path) -> None:
    """Whoever wins the race: what is deleted is below the tree."""
    until, stop = tmp_path / "race", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for step in (
                lambda: os.rename(until / "d", tmp_path / "aside"),
                lambda: os.symlink(canary, until / "d"),
                lambda: os.unlink(until / "d"),
                lambda: os.rename(tmp_path / "aside", until / "d"),
            ):
                try:
                    step()
                except OSError:
                    pass

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(300):
            (until / "d/deep/deeper").mkdir(parents=True, exist_ok=True)
            try:
                remove(until)
            except OSError:
                pass
    except OSError:
        pass
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not IS_ROOT, reason="needs root to become another user")
@pytest.mark.parametrize("mode", [0o000, 0o100, 0o400])
def test_a_closed_directory_of_ones_own_is_opened_and_deleted(open_path: Path, mode: int) -> None:
    open_path.chmod(0o777)

    def work() -> bool:
        top = open_path / "closed"
        (top / "a/b").mkdir(parents=True)
        (top / "a/b/file").write_text("")
        os.chmod(top / "a/b", mode)
        os.chmod(top / "a", mode)
        os.seteuid(0)
        remove(top)
        return top.exists()

    assert run_as_user(work, one_id=True) is False
