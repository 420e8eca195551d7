"""`crate system check`: each damage is named, whatever the damage is, and repaired where that can be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cratebox.engine.engine import Engine
from cratebox.paths import locate
from support.ready import Stock, pulled


@pytest.fixture
def stock() -> Stock:
    """Stores as pulls make them: the names of files are counted."""
    return pulled


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _rewrite(lambda raw: b""),
    "cut": _rewrite(lambda raw: raw[: len(raw) // 2]),
    "zeros": _rewrite(lambda raw: bytes(len(raw))),
    "flipped": _rewrite(lambda raw: raw[:-9] + bytes([raw[-9] ^ 64]) + raw[-8:] if len(raw) > 9 else b"x"),
    "another document": _rewrite(lambda raw: b"[]"),
    "wrong types": _rewrite(lambda raw: b'{"id": 5, "name": ["x"], "manifests": {}, "diff_id": 1, "code": "x", "pid": []}'),
    "nested": _rewrite(lambda raw: b"[" * 100000),
    "gone": _instead(lambda path: None),
    "fifo": _instead(os.mkfifo),
    "directory": _instead(lambda path: path.mkdir()),
    "symlink": _instead(lambda path: path.symlink_to("/etc/passwd")),
    "loop": _instead(lambda path: path.symlink_to(path)),
}

# Files of the root directory, by a name that a test can have; each is one pattern below the root.
STORE = {
    "index": "images/index.json",
    "copy of the index": "images/.index.copy",
    "layout": "images/oci-layout",
    "lock": "images/locks/index",
    "record of a layer": "images/layers/*/layer.json",
    "file of a layer": "images/layers/*/fs/etc/passwd",
    "program of a layer": "images/layers/*/fs/bin/busybox",
}
CONTAINER = {name: f"containers/*/{name}" for name in ("config.json", "exit.json", "lock", "hosts", "hostname", "resolv.conf")}


def check(box, *words: str, code: int | None = None) -> list[str]:  # type: ignore[no-untyped-def]
    """The lines of a check, which never fails in another way than by what it found."""
    done = box.crate("system", "check", *words, timeout=60)
    assert done.returncode in ({0, 1} if code is None else {code}), (done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_nothing_is_damaged_in_a_store_that_is_used(box) -> None:
    assert check(box, code=0) == ["nothing is damaged"]
    box.crate.ok("run", "--name", "web", box.image, "sh", "-c", "rm -r /home; echo x > /new")
    box.crate.ok("commit", "web", "site")
    box.crate.ok("run", "-d", "--name", "alive", "site", "sleep", "100")
    assert check(box, code=0) == ["nothing is damaged"]
    assert check(box, "-q", code=0) == ["nothing is damaged"]


def test_an_empty_place_has_no_damage_and_stays_empty(crate) -> None:
    assert crate.ok("system", "check") == "nothing is damaged"
    assert not crate.root.exists()


@pytest.fixture
def full(root_box, until) -> Callable[[], None]:
    """A store with the image site and its container web, which has ended; the function brings it back as it was."""
    crate = root_box.crate
    crate.ok("commit", "-m", "site", root_box.create("@", "true"), "site")
    crate.ok("container", "prune", "-f")
    crate.ok("run", "--name", "web", "site", "sh", "-c", "echo x > /new")
    until(lambda: not list((crate.root / "containers").glob(".removing-*")))
    Engine(locate(str(crate.root), str(crate.state))).images.store.wait_until_settled()  # behind the commit's back
    safe = crate.directory / "safe"
    subprocess.run(["cp", "-a", crate.root, safe], check=True)

    def anew() -> None:
        shutil.rmtree(crate.root)
        subprocess.run(["cp", "-a", safe, crate.root], check=True)

    return anew


def damage_each_way(box, anew: Callable[[], None], pattern: str, *how: str) -> Iterator[tuple[str, list[str], list[str]]]:  # type: ignore[no-untyped-def]
    """Yield each way, what a check says, and what one says after a repair; `how` are its flags."""
    for way, damage in DAMAGES.items():
        anew()
        path = next(iter(sorted(box.crate.root.glob(pattern))))
        damage(path)
        found = check(box, *how)
        check(box, "--repair", *how)
        yield way, found, check(box, *how)


@pytest.mark.parametrize("name", STORE)
def test_whatever_is_damaged_in_the_store_is_repaired(root_box, full, name: str) -> None:
    harmless = {"lock", "copy of the index"}  # what is in these files does not count
    unseen = {"index", "record of a layer"}  # one letter of a text may be as good as the other
    for way, found, after in damage_each_way(root_box, full, STORE[name], *(() if "/fs/" in STORE[name] else ("-q",))):
        if way == "flipped" and name in unseen:
            continue
        if name not in harmless:
            assert any(str(root_box.crate.root) in line for line in found), (way, found)
        assert after == ["nothing is damaged"], (way, after)
        assert root_box.crate.ok("run", "--rm", "--pull", "never", "site", "cat", "/etc/passwd").startswith("root:"), way
        assert root_box.crate.ok("start", "-a", "web") == "", way


@pytest.mark.parametrize("name", CONTAINER)
def test_whatever_is_damaged_of_a_container_is_repaired(root_box, full, name: str) -> None:
    for way, found, after in damage_each_way(root_box, full, CONTAINER[name], "-q"):
        assert after == ["nothing is damaged"], (way, found, after)
        root_box.crate.ok("ps", "-a")
        root_box.crate.ok("start", "-a", "web")
        assert root_box.crate.ok("diff", "web").splitlines() == ["A /new"], way


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
def test_a_damaged_blob_is_told_and_a_pull_mends_it(root_box, busybox_image, which: str) -> None:
    crate, image = root_box.crate, busybox_image.image
    root_box.create("--name", "web", "@", "echo", "x")
    digest = {"manifest": image.digest, "config": image.id, "layer": image.layers[0].digest}[which]
    path = crate.root / "images/blobs/sha256" / digest.removeprefix("sha256:")
    raw = path.read_bytes()
    for way, damage in DAMAGES.items():
        damage(path)
        (line,) = check(root_box, code=1)
        assert line.startswith("image "), (way, line)
        assert check(root_box, "--repair", code=1) == [line], "it is a container's, which may still be wanted"
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(raw)
        assert check(root_box, code=0) == ["nothing is damaged"]
    damage(path)
    root_box.crate.ok("rm", "web")
    assert "removed image" in check(root_box, "--repair", code=0)[0]
    assert crate.ok("images", "-q") == ""
    assert check(root_box, code=0) == ["nothing is damaged"]
    crate.ok("image", "prune", "-af")
    crate.ok("pull", "-q", str(busybox_image))
    assert root_box.run("echo", "x") == "x"


def test_names_survive_the_loss_of_the_index(box) -> None:
    box.crate.ok("commit", box.create("@", "true"), "site:2")
    (box.crate.root / "images/index.json").write_text("{")
    assert "crate system check --repair" in check(box, code=1)[0]
    assert "from its copy" in check(box, "--repair", code=0)[0]
    assert box.crate.ok("images", "--format", "{{.Repository}}:{{.Tag}}", "site") == "site:2"


def test_images_survive_the_loss_of_the_index_and_its_copy(box) -> None:
    before = sorted(box.crate.ok("images", "-q").split())
    for name in ("index.json", ".index.copy"):
        (box.crate.root / "images" / name).write_text("x")
    assert "their names are lost" in check(box, "--repair", code=0)[0]
    assert sorted(box.crate.ok("images", "-q").split()) == before
    assert box.run("echo", "x") == "x"


@pytest.mark.parametrize("way", sorted(DAMAGES.keys() - {"flipped"}))
def test_a_container_without_its_record_is_told_and_removed_only_by_force(root_box, way: str) -> None:
    identity = root_box.create("--name", "web", "@", "true")
    DAMAGES[way](root_box.crate.root / "containers" / identity / "container.json")
    (line,) = check(root_box, code=1)
    assert line.startswith("container web: ")
    assert f"crate rm -f {identity[:12]}" in line
    assert check(root_box, "--repair", code=1) == [line]
    assert "removed" in check(root_box, "--repair", "--force", code=0)[0]
    assert root_box.crate.ok("ps", "-aq") == ""
    assert os.listdir(root_box.crate.root / "names") == []


def test_a_container_whose_record_is_gone_is_listed_and_told_by_prune(root_box) -> None:
    identity = root_box.create("--name", "web", "@", "true")
    (root_box.crate.root / "containers" / identity / "container.json").unlink()
    assert root_box.crate.ok("ps", "-a", "--format", "{{.ID}} {{.Names}} {{.Status}}") == f"{identity[:12]} web Dead"
    for words in (("container", "prune", "-f"), ("system", "prune", "-f")):
        assert f"{identity}/container.json is gone" in root_box.crate.fails(*words, code=1)
    assert f"crate rm -f {identity[:12]}" in root_box.crate.fails("start", "web")
    root_box.crate.ok("rm", "-f", "web")
    assert root_box.crate.ok("ps", "-aq") == ""


def test_lost_names_are_found_again_and_odd_ones_go(box) -> None:
    box.create("--name", "web", "@", "true")
    names = box.crate.root / "names"
    (names / "web").unlink()
    (names / "odd").write_text("x")
    assert len(check(box, code=1)) == 2
    check(box, "--repair", code=0)
    assert box.status("web") == "created"
    assert os.listdir(names) == ["web"]


def test_directories_of_a_container_are_made_again(box) -> None:
    identity = box.create("--name", "web", "@", "true")
    where = box.crate.root / "containers" / identity
    for name in ("rootfs", "rw"):
        shutil.rmtree(where / name)
    assert len(check(box, code=1)) == 2
    check(box, "--repair", code=0)
    box.crate.ok("start", "-a", "web")


@pytest.mark.parametrize("way", sorted(DAMAGES.keys() - {"flipped"}))
def test_a_damaged_state_of_a_running_container_is_told_and_rm_by_force_helps(root_box, until, way: str) -> None:
    identity = root_box.detached("--name", "web", "@", "sleep", "100")
    pid = root_box.crate.json("inspect", "web")[0]["State"]["Pid"]
    path = root_box.crate.state / "containers" / identity / "state.json"
    DAMAGES[way](path)
    if way != "gone":
        assert any("crate rm -f web" in line for line in check(root_box, code=1)), way
    check(root_box, "--repair")
    root_box.crate.ok("rm", "-f", "web")
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert check(root_box, "--repair", code=0)
    assert check(root_box, code=0) == ["nothing is damaged"]


def test_a_layer_that_a_running_container_uses_is_not_replaced_under_it(root_box) -> None:
    root_box.detached("--name", "web", "@", "sleep", "100")
    (passwd,) = (root_box.crate.root / "images/layers").glob("*/fs/etc/passwd")
    passwd.write_text("changed")
    (line,) = check(root_box, "--repair", code=1)
    assert "stop the containers that use it" in line
    assert check(root_box, "-q", code=0) == ["nothing is damaged"]  # which does not read it
    root_box.crate.ok("rm", "-f", "web")
    assert "unpacked layer" in check(root_box, "--repair", code=0)[0]


@pytest.mark.parametrize("place", ["containers", "names", "cache", "events", "images/blobs", "images/layers", "images/locks"])
def test_a_file_in_the_place_of_a_directory_is_told_and_repaired(root_box, place: str) -> None:
    path = root_box.crate.root / place
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("x")
    assert str(path) in "\n".join(check(root_box, code=1))
    check(root_box, "--repair")
    assert path.is_dir() or not path.exists()


# --- each file deleted by hand ------------------------------------------------------------------------------------------------


def files_of(root_box) -> list[str]:  # type: ignore[no-untyped-def]
    identity = root_box.detached("--name", "probe", "@", "sleep", "100")
    try:
        return sorted(os.listdir(root_box.crate.root / "containers" / identity))
    finally:
        root_box.crate.ok("rm", "-f", "probe")


@pytest.mark.parametrize("running", [True, False], ids=["running", "ended"])
def test_a_container_whose_files_were_deleted_by_hand_says_so_and_rm_by_force_works(root_box, until, running: bool) -> None:
    for name in files_of(root_box):
        identity = root_box.detached("--name", "web", "@", "sh", "-c", "echo x; exec sleep 100")
        if not running:
            root_box.crate.ok("kill", "web")
            until(lambda: root_box.status("web") == "exited")
        path = root_box.crate.root / "containers" / identity / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for words in (("ps", "-a"), ("inspect", "web"), ("logs", "web"), ("diff", "web"), ("start", "web"), ("system", "df")):
            done = root_box.crate(*words, timeout=30)
            assert "Traceback" not in done.stderr, (name, words, done.stderr)
            assert "internal error" not in done.stderr, (name, words, done.stderr)
            assert done.returncode in {0, 1, 125}, (name, words, done.stderr)
        root_box.crate.ok("rm", "-f", "web")
        assert root_box.crate.ok("ps", "-aq") == "", name
    assert check(root_box, code=0) == ["nothing is damaged"]


def test_damage_of_a_users_store_is_repaired_as_well(user_box) -> None:
    (record,) = (user_box.crate.root / "images/layers").glob("*/layer.json")
    record.write_text(json.dumps({"diff_id": "x"}))
    assert "unpacked layer" in check(user_box, "--repair", code=0)[0]
    assert user_box.run("echo", "x") == "x"


def test_a_store_of_somebody_else_is_not_looked_at(root_box) -> None:
    os.chown(root_box.crate.root / "images", 12345, -1)
    assert "belongs to uid 12345" in root_box.crate.fails("system", "check", "--repair")
