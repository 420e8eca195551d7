"""`crate system prune`, `container prune`, `image prune`: what nobody needs goes, what somebody uses stays."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cratebox.linux import lock

ID = "0123456789abcdef" * 4


def prune(box, *words: str) -> str:  # type: ignore[no-untyped-def]
    return box.crate.ok("system", "prune", "-f", *words)


def what_is_left(box) -> list[str]:  # type: ignore[no-untyped-def]
    """All files below the root and the state that are not an image's, a lock's, or a cache's that is worth keeping."""
    kept = ("images", "cache", "events", "said")
    found = []
    for top in (box.crate.root, box.crate.state):
        for directory, names, files in os.walk(top):
            if Path(directory) == top:
                names[:] = [name for name in names if name not in kept]
            found += [str(Path(directory, name).relative_to(top)) for name in files]
            found += [str(Path(directory, name).relative_to(top)) for name in names if os.path.islink(Path(directory, name))]
            if len(Path(directory).relative_to(top).parts) == 1:
                found += [str(Path(directory, name).relative_to(top)) for name in names]
    return found


# --- containers and images -------------------------------------------------------------------------------------------------


def test_containers_that_ended_go_and_those_that_run_stay(box) -> None:
    box.crate.ok("run", "--name", "ended", box.image, "sh", "-c", "head -c 500000 /dev/zero > /a")
    new = box.create("--name", "new", "@", "true")
    alive = box.detached("--name", "alive", "@", "sleep", "100")
    said = box.crate.ok("container", "prune", "-f").splitlines()
    assert said[0] == "Deleted Containers:"
    assert {new} < set(said)
    assert said[-1] == "Total reclaimed space: 500kB"
    assert box.crate.ok("ps", "-aq", "--no-trunc") == alive
    assert os.listdir(box.crate.root / "names") == ["alive"]


def test_it_asks_before(box) -> None:
    box.create("--name", "web", "@", "true")
    for verb in ("system", "container"):
        for answer in ("n\n", "\n", ""):
            said = box.crate.ok(verb, "prune", input=answer)
            assert said.startswith("WARNING! This will remove")
            assert said.endswith("Are you sure you want to continue? [y/N] ")
    assert box.status("web") == "created"
    assert "Deleted Containers:" in box.crate.ok("system", "prune", input="y\n")
    assert box.crate.ok("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("until=1h",), "abc"),
        (("until=0s",), ""),
        (("label=kind",), "c"),
        (("label=kind=x",), "bc"),
        (("label!=kind",), "ab"),
        (("label!=kind=x",), "a"),
        (("label=kind", "label!=kind=x"), "ac"),
    ],
)
def test_filters_say_which(root_box, words: tuple[str, ...], left: str) -> None:
    for name, labels in (("a", ("kind=x",)), ("b", ("kind=y",)), ("c", ())):
        root_box.create("--name", f"web-{name}", *(word for label in labels for word in ("--label", label)), "@", "true")
    root_box.crate.ok("container", "prune", "-f", *(word for one in words for word in ("--filter", one)))
    assert sorted(name[-1] for name in root_box.crate.ok("ps", "-a", "--format", "{{.Names}}").split()) == list(left)


@pytest.mark.parametrize("text", ["", "until", "until=", "until=never", "label", "name=x", "until=1h until=2h"])
def test_a_filter_that_is_none_is_refused(root_box, text: str) -> None:
    words = [part for one in text.split() or [""] for part in ("--filter", one)]
    assert "filter" in root_box.crate.fails("system", "prune", "-f", *words)


def test_images_without_a_name_go_and_with_all_those_that_nobody_uses(box, put, busybox_base) -> None:
    box.crate.ok("commit", "-m", "one", box.create("--name", "web", "@", "true"), "site")
    dangling = box.crate.ok("inspect", "-f", "{{.Id}}", "site")
    box.crate.ok("commit", "-m", "two", "web", "site")
    said = box.crate.ok("image", "prune", "-f")
    assert f"deleted: {dangling}" in said.splitlines()
    assert box.crate("inspect", box.image).returncode == 0  # without a name as well, but `web` is made of it
    assert "untagged: site:latest" in box.crate.ok("image", "prune", "-af").splitlines()
    box.crate.ok("rm", "web")
    box.crate.ok("image", "prune", "-af")
    assert box.crate.ok("images", "-q") == ""
    images = box.crate.root / "images"
    assert os.listdir(images / "layers") == os.listdir(images / "blobs/sha256") == os.listdir(images / "blobs/.partial") == []


def test_volumes_without_a_name_go_where_that_is_said(box) -> None:
    box.crate.ok("volume", "create", "named")
    box.create("-v", "/data", "@", "true")
    (anonymous,) = set(box.crate.ok("volume", "ls", "-q").split()) - {"named"}
    box.crate.ok("system", "prune", "-f")
    assert anonymous in box.crate.ok("volume", "ls", "-q")
    assert anonymous in box.crate.ok("system", "prune", "-f", "--volumes")
    assert box.crate.ok("volume", "ls", "-q") == "named"


def test_a_running_container_whose_record_is_damaged_keeps_its_image(root_box) -> None:
    identity = root_box.detached("--name", "web", "@", "sleep", "100")
    (root_box.crate.root / "containers" / identity / "container.json").write_text("{")
    assert "nobody knows which image it needs" in root_box.crate.fails("image", "prune", "-af")
    assert "nobody knows which image it needs" in root_box.crate.fails("system", "prune", "-af", code=1)
    root_box.crate.ok("rm", "-f", "web")
    root_box.crate.ok("image", "prune", "-af")


# --- what was killed -------------------------------------------------------------------------------------------------------


def test_what_killed_commands_leave_goes_at_once(box) -> None:
    box.run("true")
    root, state, person = box.crate.root, box.crate.state, box.crate.person
    for kind in (".new", ".removing"):
        where = root / "containers" / f"{kind}-{ID}"
        (where / "rw").mkdir(parents=True)
        (where / "lock").touch()
    (root / "names/left").symlink_to("f" * 64)
    (root / "names/odd").write_text("x")
    (state / "containers" / ID).mkdir()
    (root / "images/blobs/.partial/new-x").write_text("half")
    (root / "images/layers/.new-x/fs").mkdir(parents=True)
    (root / "images/layers/.old-x/fs").mkdir(parents=True)
    (root / "images/blobs/sha256" / ("a" * 64)).write_text("nobody's")
    box.create("--name", "web", "@", "true")
    (root / "containers" / box.crate.json("inspect", "web")[0]["Id"] / "container.json.999999999.new").write_text("half")
    for top in (root, state):
        for path in [top, *top.rglob("*")]:
            os.chown(path, person.uid, person.gid, follow_symlinks=False)
    said = prune(box)
    assert "Deleted Leftovers:" in said
    assert what_is_left(box) == []
    assert os.listdir(root / "images/blobs/.partial") == []
    assert [name for name in os.listdir(root / "images/layers") if name.startswith(".")] == []


def test_nothing_goes_behind_a_symlink_in_a_containers_place(box) -> None:
    box.create("@", "true")
    elsewhere = box.crate.person.directory(box.crate.directory / "elsewhere")
    (elsewhere / "log.999999999.new").write_text("another's")
    (elsewhere / "copy.new").mkdir()
    for kind in ("", ".new-", ".removing-"):
        (box.crate.root / "containers" / f"{kind}{ID}").symlink_to(elsewhere)
    prune(box)
    assert sorted(os.listdir(elsewhere)) == ["copy.new", "log.999999999.new"]


def test_what_a_living_command_makes_stays(box) -> None:
    box.run("true")
    where = box.crate.root / "containers" / f".new-{ID}"
    (where / "rw").mkdir(parents=True)
    (where / "lock").touch()
    (box.crate.root / "names/mine").symlink_to(ID)
    for path in (where, where / "rw", where / "lock"):
        os.chown(path, box.crate.person.uid, -1)
    held = lock.try_hold(str(where / "lock"))
    assert held is not None
    try:
        prune(box)
        assert (where / "rw").is_dir()
        assert (box.crate.root / "names/mine").is_symlink()
    finally:
        os.close(held)


def test_while_a_pull_holds_the_store_images_stay_and_that_is_said(root_box) -> None:
    import fcntl

    fd = os.open(root_box.crate.root / "images/locks/store", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        done = root_box.crate("system", "prune", "-af")
        assert (done.returncode, "images were left alone" in done.stderr) == (0, True)
        assert root_box.run("echo", "x") == "x"
    finally:
        os.close(fd)


def test_a_cgroup_of_a_container_that_has_ended_goes_and_a_young_one_of_nobody_stays(root_box) -> None:
    name = root_box.create("@", "true")
    root_box.crate.ok("start", "-a", name)
    hierarchy = next(path for path in Path("/sys/fs/cgroup").iterdir() if os.access(path / "cgroup.procs", os.W_OK))
    left, young = hierarchy / f"crate-{name}", hierarchy / f"crate-{os.urandom(32).hex()}"
    (left / "inside").mkdir(parents=True)
    young.mkdir()
    try:
        assert f"cgroup {left}" in prune(root_box, "--filter", "label=none")
        assert not left.exists()
        assert young.exists()
    finally:
        young.rmdir()


def test_the_process_of_a_container_whose_directory_somebody_deleted_ends(root_box, until) -> None:
    identity = root_box.detached("--name", "web", "@", "sleep", "100")
    pid = root_box.crate.json("inspect", "web")[0]["State"]["Pid"]
    subprocess.run(["rm", "-rf", root_box.crate.root / "containers" / identity], check=True)
    prune(root_box)
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert what_is_left(root_box) == []
    time.sleep(0.1)
    prune(root_box)


def test_the_state_of_another_root_is_not_ours_to_judge(root_box) -> None:
    root_box.detached("--name", "web", "@", "sleep", "100")
    other = root_box.crate.within((), CRATE_ROOT=str(root_box.crate.directory / "other"))
    other.ok("system", "prune", "-af")
    assert root_box.status("web") == "running"


@pytest.mark.parametrize("verb", ["run", "create", "commit", "rm", "pull"])
def test_commands_killed_at_any_moment_leave_nothing_after_one_prune(box, busybox_image, verb: str, until) -> None:
    if verb == "commit":
        box.crate.ok("run", "--name", "web", box.image, "sh", "-c", "echo x > /new; rm /etc/group")
    chance = random.Random(verb)
    for _ in range(8):
        words = {
            "run": ("run", "--rm", box.image, "true"),
            "create": ("create", box.image, "true"),
            "commit": ("commit", "web", "site"),
            "rm": ("rm", "-f", box.create("@", "true") if verb == "rm" else ""),
            "pull": ("pull", "-q", str(busybox_image)),
        }[verb]
        if verb == "pull":
            prune(box, "-a")
        process = box.crate.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.random() * 0.25)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    box.crate("rm", "-f", "web")
    # A supervisor outlives the command that started it: it is no leftover.
    until(lambda: "running" not in box.crate.ok("ps", "-a", "--format", "{{.State}}"))
    until(lambda: not prune(box, "-a") or what_is_left(box) == [])
    images = box.crate.root / "images"
    assert os.listdir(images / "layers") == os.listdir(images / "blobs/sha256") == os.listdir(images / "blobs/.partial") == []


def test_prunes_runs_pulls_and_commits_of_one_image_at_once_do_not_hurt_each_other(box, busybox_image) -> None:
    box.crate.ok("run", "--name", "web", box.image, "sh", "-c", "echo x > /new")
    words = [
        ("run", "--rm", str(busybox_image), "echo", "x"),
        ("pull", "-q", str(busybox_image)),
        ("commit", "web", "site"),
        ("image", "prune", "-af"),
        ("system", "df"),
    ]
    with open(box.crate.directory / "said", "wb") as said:
        started = [box.crate.start(*one, stdout=said, stderr=said) for _ in range(3) for one in words]
        codes = [process.wait(120) for process in started]
    assert codes == [0] * len(codes), (box.crate.directory / "said").read_text()
    assert box.crate.ok("run", "--rm", "--pull", "never", box.image, "echo", "x") == "x"
