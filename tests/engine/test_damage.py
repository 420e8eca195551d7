"""State that is damaged, somebody else's, or on a disk that is full: one clear line, and nothing more is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.commands import Crate

TRUNCATIONS = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "zeros": lambda raw: bytes(len(raw)),
    "another document": lambda raw: b"[]",
    "wrong types": lambda raw: b'{"id": 5, "name": ["x"], "created": "now", "image": {}, "config": null}',
    "nested": lambda raw: b"[" * 100000,
    "not UTF-8": lambda raw: b'{"id": "\xff\xfe"}',
}


def _one_line(said: str) -> None:
    assert 1 <= len(said.splitlines()) <= 2, said
    assert "Traceback" not in said
    assert "internal error" not in said


@pytest.mark.parametrize("damage", TRUNCATIONS)
def test_a_damaged_record_of_a_container_is_said_and_rm_by_force_helps(root_box, damage: str) -> None:
    identity = root_box.create("--name", "web", "@", "true")
    _damage(root_box.crate.root / "containers" / identity / "container.json", damage)
    for words, code in ((("start", "web"), 125), (("inspect", "web"), 1), (("logs", "web"), 125), (("rm", "web"), 1)):
        done = root_box.crate(*words)
        assert done.returncode in {code, 125, 1}
        _one_line(done.stderr)
    assert root_box.run("echo", "x") == "x"
    listed = root_box.crate("ps", "-a", "--format", "{{.ID}} {{.State}}")
    assert listed.stdout.split() == [identity[:12], "dead"], listed.stderr
    root_box.crate.ok("rm", "-f", "web")
    root_box.create("--name", "web", "@", "true")


def _damage(path: Path, how: str) -> None:
    path.write_bytes(TRUNCATIONS[how](path.read_bytes()))


@pytest.mark.parametrize("damage", TRUNCATIONS)
def test_a_damaged_record_of_an_end_is_said_and_rm_helps(root_box, damage: str) -> None:
    root_box.crate("run", "--name", "web", root_box.image, "true")
    (found,) = (root_box.crate.root / "containers").glob("*/exit.json")
    _damage(found, damage)
    for words in (("ps", "-a"), ("inspect", "web"), ("start", "-a", "web")):
        done = root_box.crate(*words)
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
    root_box.crate.ok("rm", "-f", "web")
    assert root_box.crate.ok("ps", "-aq") == ""


@pytest.mark.parametrize("damage", TRUNCATIONS)
def test_a_damaged_state_of_a_running_container_is_said_and_rm_by_force_ends_it(root_box, damage: str, until) -> None:
    identity = root_box.detached("--name", "web", "@", "sleep", "100")
    pid = root_box.crate.json("inspect", "web")[0]["State"]["Pid"]
    _damage(root_box.crate.state / "containers" / identity / "state.json", damage)
    for words in (("stop", "-t", "0", "web"), ("kill", "web"), ("start", "web"), ("rm", "web")):
        done = root_box.crate(*words)
        assert done.returncode in {1, 125}, words
        _one_line(done.stderr)
    done = root_box.crate("ps", "-a")
    assert "Traceback" not in done.stderr
    root_box.crate.ok("rm", "-f", "web")
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert root_box.crate.ok("ps", "-aq") == ""


@pytest.mark.parametrize("damage", TRUNCATIONS)
def test_a_damaged_index_of_the_store_is_said(root_box, damage: str) -> None:
    _damage(root_box.crate.root / "images/index.json", damage)
    for words in (("images",), ("run", "--rm", "--pull", "never", root_box.image, "true"), ("rmi", root_box.image)):
        done = root_box.crate(*words)
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        if done.returncode:
            _one_line(done.stderr)


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "another document"])
@pytest.mark.parametrize("which", ["manifest", "config"])
def test_a_damaged_blob_of_an_image_is_said_and_a_pull_mends_it(root_box, busybox_image, which: str, damage: str) -> None:
    digest = busybox_image.image.digest if which == "manifest" else busybox_image.image.id
    _damage(root_box.crate.root / "images/blobs/sha256" / digest.removeprefix("sha256:"), damage)
    for words in (("images",), ("run", "--rm", "--pull", "never", root_box.image, "true")):
        done = root_box.crate(*words)
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        if done.returncode:
            _one_line(done.stderr)
    assert root_box.crate.ok("run", "--rm", str(busybox_image), "echo", "x") == "x"
    assert root_box.run("echo", "x") == "x"


def test_a_layer_that_is_gone_is_said_and_a_pull_mends_it(root_box, busybox_image) -> None:
    root_box.create("--name", "web", "@", "echo", "x")
    for layer in (root_box.crate.root / "images/layers").iterdir():
        shutil.rmtree(layer)
    assert root_box.crate.ok("start", "-a", "web") == "x"  # unpacked again from its blob
    for blob in (root_box.crate.root / "images/blobs/sha256").iterdir():
        if blob.stat().st_size > 100_000:
            blob.unlink()
    for layer in (root_box.crate.root / "images/layers").iterdir():
        shutil.rmtree(layer)
    _one_line(root_box.crate.fails("start", "-a", "web"))
    root_box.crate.ok("pull", str(busybox_image))
    assert root_box.crate.ok("start", "-a", "web") == "x"


def test_a_container_without_its_directories_is_said_and_removed(root_box) -> None:
    identity = root_box.create("--name", "web", "@", "true")
    for path in (root_box.crate.root / "containers" / identity).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = root_box.crate("start", "web")
    assert done.returncode == 125
    _one_line(done.stderr)
    root_box.crate.ok("rm", "-f", "web")


def test_what_is_left_of_killed_commands_is_not_taken_for_containers(root_box) -> None:
    for name in (".new-" + "a" * 64, ".removing-" + "b" * 64, "lost+found", "x" * 64):
        (root_box.crate.root / "containers" / name).mkdir(parents=True)
    done = root_box.crate("ps", "-a")
    assert done.returncode == 0
    assert "aaaa" not in done.stdout
    assert root_box.run("echo", "x") == "x"


def test_the_name_of_a_create_that_was_killed_is_free(root_box) -> None:
    names = root_box.crate.root / "names"
    root_box.create("true")
    (names / "web").symlink_to("c" * 64)
    (names / "odd").symlink_to("../../../etc/passwd")
    (names / "file").write_text("x")
    assert "no container" in root_box.crate.fails("start", "web")
    assert "no container" in root_box.crate.fails("start", "odd")
    for name in ("web", "odd", "file"):
        root_box.create("--name", name, "@", "true")
        assert root_box.status(name) == "created"


@pytest.mark.parametrize("lie", ["another boot", "another process"])
def test_a_state_that_is_not_true_any_more_gets_nobody_signalled(root_box, lie: str, until) -> None:
    """As after a reboot of a machine that does not clear /run: the pid is that of somebody else."""
    identity = root_box.detached("--name", "web", "@", "sleep", "100")
    file = root_box.crate.state / "containers" / identity / "state.json"
    state = json.loads(file.read_text())
    root_box.crate.ok("kill", "web")
    until(lambda: not file.exists())
    victim = subprocess.Popen(["sleep", "100"])
    stat = Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()
    started = int(stat[19]) if lie == "another boot" else state["started"]
    boot = "00000000-0000-0000-0000-000000000000" if lie == "another boot" else next(v for k, v in state.items() if "boot" in k)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(state | {"pid": victim.pid, "started": started, next(k for k in state if "boot" in k): boot}))
    assert root_box.status("web") == "exited"
    assert "not running" in root_box.crate.fails("kill", "web", code=1)
    root_box.crate.ok("stop", "-t", "0", "web")
    root_box.crate.ok("rm", "-f", "web")
    assert victim.poll() is None
    victim.kill()
    victim.wait()


# --- whose it is -----------------------------------------------------------------------------------------------------


def test_a_store_of_somebody_else_is_refused(rootful: Crate, busybox_image) -> None:
    rootful.root.mkdir()
    os.chown(rootful.root, 12345, 12345)
    for words in (("run", "--rm", str(busybox_image), "true"), ("pull", str(busybox_image)), ("create", str(busybox_image))):
        said = rootful.fails(*words)
        assert "12345" in said
        _one_line(said)
    assert list(rootful.root.iterdir()) == []


def test_a_state_of_somebody_else_is_refused(rootful: Crate, busybox_image) -> None:
    rootful.state.mkdir()
    os.chown(rootful.state, 12345, 12345)
    assert "12345" in rootful.fails("run", "--rm", "--quiet", str(busybox_image), "true")
    assert list(rootful.state.iterdir()) == []


def test_a_user_is_kept_out_of_the_store_of_root(rootless: Crate, busybox_image) -> None:
    if os.geteuid():
        pytest.skip("needs root, to make a directory of root's")
    rootless.root.mkdir(mode=0o755)
    said = rootless.fails("run", "--rm", str(busybox_image), "true")
    assert "belongs to uid 0" in said
    _one_line(said)


def test_a_store_that_others_can_write_to_is_refused(crate: Crate, busybox_image) -> None:
    crate.person.directory(crate.root).chmod(0o777)
    assert "others can write" in crate.fails("run", "--rm", str(busybox_image), "true")


def test_a_store_that_is_a_symlink_or_a_file_is_refused(rootful: Crate, busybox_image) -> None:
    target = rootful.directory / "elsewhere"
    target.mkdir()
    rootful.root.symlink_to(target)
    _one_line(rootful.fails("run", "--rm", str(busybox_image), "true"))
    rootful.root.unlink()
    rootful.root.write_text("x")
    _one_line(rootful.fails("run", "--rm", str(busybox_image), "true"))


def test_nobody_else_looks_into_the_store_or_the_state(box) -> None:
    box.detached("sleep", "100")
    for path in (box.crate.root, box.crate.state):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_read_only_store_is_said(root_box) -> None:
    """On a read-only file system: root does not care about modes."""
    crate = _on_a_tiny_disk(root_box.crate, "16m", "mount -o remount,ro $CRATE_ROOT")
    _one_line(crate.fails("run", "--rm", "rootfs:/", "true"))


# --- a full disk -----------------------------------------------------------------------------------------------------


def _is_about_space(said: str) -> bool:
    return any(words in said for words in ("No space left", "no space left", "more space than", "disk is full", "disk full"))


def _on_a_tiny_disk(crate: Crate, size: str, then: str = ":", what: str = "$CRATE_ROOT") -> Crate:
    """Return the crate behind a program that mounts a small tmpfs over its store, in a mount namespace of its own."""
    script = f'set -e; mkdir -p {what}; mount -t tmpfs -o size={size},mode=700 tmpfs {what}; {then}; exec "$@"'
    return crate.within(("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"))


@pytest.mark.parametrize("size", ["8k", "64k", "256k", "1m", "2m", "3m"])
def test_a_pull_onto_a_full_disk_is_said(rootful: Crate, busybox_image, size: str) -> None:
    said = _on_a_tiny_disk(rootful, size).fails("pull", "--quiet", str(busybox_image))
    assert _is_about_space(said)
    _one_line(said)


def test_a_change_on_a_full_disk_is_said_with_what_helps(rootful: Crate, busybox_image, small_store) -> None:
    with_room = rootful.within((), CRATE_ROOT=str(small_store / "root"))
    with_room.ok("create", "--name", "web", str(busybox_image), "true")
    with Path(small_store, "filler").open("wb", 0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    for words in (("update", "--restart", "always", "web"), ("rename", "web", "other")):
        said = with_room.fails(*words, code=1 if words[0] == "update" else 125)
        assert "No space left on device\n  hint: the disk is full: crate rm and crate rmi free space" in said
    (small_store / "filler").unlink()
    with_room.ok("rename", "web", "other")
    with_room.ok("rm", "other")


def test_a_run_on_a_full_disk_is_said_or_done(root_box) -> None:
    """The image is there, and then so many pages are free: whatever is written first does not find room."""
    copied = root_box.crate.directory / "copy"
    shutil.copytree(root_box.crate.root, copied, symlinks=True)
    codes = []
    for blocks in range(0, 24, 2):
        fill = (
            f"cp -a {copied}/. $CRATE_ROOT; dd if=/dev/zero of=$CRATE_ROOT/filler bs=4k 2>/dev/null || :; "
            f"truncate -s $(($(stat -c %s $CRATE_ROOT/filler) - {blocks * 4096})) $CRATE_ROOT/filler"
        )
        crate = _on_a_tiny_disk(root_box.crate, "12m", fill)
        done = crate("run", "--rm", root_box.image, "sh", "-c", "echo out; exit 3")
        codes.append(done.returncode)
        _said_or_done(done, "out\n")
    assert codes[0] == 125
    assert codes.count(125) > 1, "it failed at one write alone"
    assert codes[-1] == 3


def test_a_run_whose_state_directory_is_full_is_said_or_done(root_box) -> None:
    codes = []
    for blocks in range(5):
        fill = "head -c 4096 /dev/zero > $CRATE_STATE/filler || :"
        crate = _on_a_tiny_disk(root_box.crate, f"{blocks * 4 or 4}k", fill, "$CRATE_STATE")
        done = crate("run", "--rm", root_box.image, "sh", "-c", "exit 3")
        codes.append(done.returncode)
        _said_or_done(done, "")
    assert (codes[0], codes[-1]) == (125, 3)


def _said_or_done(done: subprocess.CompletedProcess[str], out: str) -> None:
    if done.returncode == 3:
        assert done.stdout == out
    else:
        assert done.returncode == 125, done.stderr
        assert _is_about_space(done.stderr), done.stderr
        _one_line(done.stderr)


def test_a_disk_that_fills_while_the_container_writes_is_the_containers_to_know(root_box) -> None:
    copied = root_box.crate.directory / "copy"
    shutil.copytree(root_box.crate.root, copied, symlinks=True)
    crate = _on_a_tiny_disk(root_box.crate, "12m", f"cp -a {copied}/. $CRATE_ROOT")
    done = crate(
        "run", "--rm", root_box.image, "sh", "-c", "dd if=/dev/zero of=/big bs=64k; echo code $?; seq 100000 | tail -n 1"
    )
    assert done.returncode == 0
    assert done.stdout == "code 1\n100000\n"
    assert "No space left" in done.stderr


def test_a_log_that_finds_no_room_ends_no_container(root_box) -> None:
    copied = root_box.crate.directory / "copy"
    shutil.copytree(root_box.crate.root, copied, symlinks=True)
    crate = _on_a_tiny_disk(root_box.crate, "9m", f"cp -a {copied}/. $CRATE_ROOT")
    done = crate("run", "--rm", root_box.image, "sh", "-c", "yes 0123456789abcdef | head -c 30000000 | tail -c 17; exit 4")
    assert done.returncode == 4
    done = crate("run", "--rm", root_box.image, "sh", "-c", "seq 1 700000; exit 4", timeout=60)
    assert done.returncode == 4
    assert done.stdout.endswith("\n700000\n")


def test_what_a_full_disk_refused_works_once_there_is_room(rootful: Crate, busybox_image) -> None:
    """One script in one mount namespace: pull, fail, make room, pull, run."""
    image, exe = str(busybox_image), rootful.argv()[0]
    script = f"""
        head -c 1500000 /dev/zero > $CRATE_ROOT/../filler2 || :
        {exe} pull -q {image} && exit 77
        {exe} run --rm -q {image} true && exit 78
        mount -o remount,size=200m $CRATE_ROOT
        {exe} pull -q {image} && exec {exe} run --rm -q {image} echo fine
    """
    crate = _on_a_tiny_disk(rootful, "2m")
    done = subprocess.run(
        [*crate.prefix, "sh", "-c", script],
        env=rootful.person.environment(rootful.environment),
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        cwd=rootful.person.home,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "fine"
