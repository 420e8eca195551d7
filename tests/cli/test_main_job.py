"""The two commands of the README, on an empty directory, without any setting; and the words of a session."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.commands import Crate


def _plain(crate: Crate, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run crate as a stranger does: no CRATE_ROOT, no CRATE_STATE, no CRATE_NETWORK."""
    return crate.person_behind_prefix().run(crate.argv(*words), env=dict(variables), timeout=100)


def test_a_user_without_any_setting_runs_a_directory(outward: Crate) -> None:
    done = _plain(outward, "run", "--rm", "rootfs:/", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    store = outward.person.home / ".local/share/crate"
    assert store.stat().st_mode & 0o777 == 0o700
    assert _plain(outward, "ps", "-aq").stdout == ""


def test_a_user_without_any_setting_runs_an_image(outward: Crate, busybox_image) -> None:
    done = _plain(outward, "run", str(busybox_image), "/bin/sh", "-c", "echo hello world")
    assert done.stdout == "hello world\n", done.stderr
    assert "Exited (0)" in _plain(outward, "ps", "-a").stdout
    (identity,) = _plain(outward, "ps", "-aq").stdout.split()
    assert _plain(outward, "rm", identity).returncode == 0
    _plain(outward, "rmi", busybox_image.image.id)


def test_a_user_without_a_way_outside_is_told_what_to_do(rootless: Crate) -> None:
    done = _plain(rootless, "run", "--rm", "rootfs:/", "echo", "hello")
    if done.returncode == 0:
        return  # this machine gives him one
    assert (done.returncode, done.stdout) == (125, "")
    assert "--network host" in done.stderr
    assert _plain(rootless, "run", "--rm", "rootfs:/", "echo", "hello", CRATE_NETWORK="none").stdout == "hello\n"


def test_a_working_day(crate: Crate, busybox_image) -> None:
    image = str(busybox_image)
    said = crate.ok("pull", image)
    assert said.splitlines()[-1] == image
    identity = crate.ok("create", "--name", "web", "-q", image, "sh", "-c", "echo served; exec sleep 100")
    assert crate.ok("start", "web") == "web"
    listed = crate.ok("ps").splitlines()
    assert re.match(r"CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$", listed[0])
    assert listed[1].startswith(identity[:12])
    assert listed[1].endswith("web")
    assert crate.ok("stop", "-t", "0", "web") == "web"
    assert crate.ok("logs", "web") == "served"
    assert crate.ok("start", "web", "echo", "other words") == "other words"
    assert crate.ok("rm", "web") == "web"
    assert "Deleted" in crate.ok("rmi", busybox_image.image.id)
    assert crate.ok("images", "-q") == ""
    assert crate.ok("ps", "-aq") == ""


@pytest.mark.parametrize("words", [("images",), ("ps",), ("ps", "-a"), ("info",), ("version",), ("images", "-q")])
def test_looking_at_an_empty_store_makes_nothing(crate: Crate, words: tuple[str, ...]) -> None:
    assert crate(*words).returncode == 0
    assert not crate.root.exists() or list(crate.root.iterdir()) == []
    assert not crate.state.exists() or list(crate.state.iterdir()) == []


def test_docker_s_longer_names_do_the_same(crate: Crate, busybox_image) -> None:
    crate.ok("image", "pull", "-q", str(busybox_image))
    crate.ok("container", "create", "--name", "web", busybox_image.image.id, "echo", "x")
    assert crate.ok("container", "start", "-a", "web") == "x"
    assert "web" in crate.ok("container", "ls", "-a")
    crate.ok("container", "rm", "web")
    assert crate.ok("image", "ls", "-q")
    crate.ok("image", "rm", busybox_image.image.id)


def test_root_and_state_can_be_named_on_the_command_line(crate: Crate, busybox_image) -> None:
    elsewhere = crate.person.directory(crate.directory / "elsewhere")
    flags = ("--root", str(elsewhere / "root"), "--state", str(elsewhere / "state"))
    crate.ok(*flags, "create", "-q", "--name", "web", str(busybox_image), "echo", "x")
    assert crate.ok(*flags, "start", "-a", "web") == "x"
    assert "no container" in crate.fails("start", "web")
    crate.ok(*flags, "rm", "web")


def test_relative_names_of_directories_are_of_the_callers(crate: Crate, busybox_image) -> None:
    place = crate.person.directory(crate.directory / "place")
    crate.ok("--root", "r", "--state", "s", "create", "-q", "--name", "web", str(busybox_image), "echo", "x", cwd=place)
    assert crate.ok("--root", str(place / "r"), "--state", str(place / "s"), "start", "-a", "web") == "x"
    crate.ok("--root", "place/r", "--state", "place/s", "rm", "web", cwd=crate.directory)
    assert sorted(path.name for path in place.iterdir()) == ["r", "s"]


@pytest.mark.parametrize("odd", ["a b", "a:b", "a,b", "a\\b", 'a"b', "ä", "a'b", "a\\040b", "a%sb", "a\tb", "a$b"])
def test_the_store_may_lie_below_any_name(rootful: Crate, busybox_image, odd: str) -> None:
    flags = ("--root", str(rootful.directory / odd / "root"), "--state", str(rootful.directory / odd / "state"))
    (rootful.directory / odd).mkdir()
    assert rootful.ok(*flags, "run", "--rm", "-q", str(busybox_image), "echo", "x") == "x"


@pytest.mark.parametrize("odd", ["a b", "a:b", "a,b", "a\\b"])
def test_a_directory_of_any_name_is_an_image_and_a_mount(crate: Crate, odd: str) -> None:
    tree = crate.person.directory(crate.directory / odd)
    for directory in ("proc", "sys", "dev", "etc", "mnt"):
        crate.person.directory(tree / directory)
    (tree / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tree / "busybox").chmod(0o755)
    mount = f'type=bind,"source={tree}",target=/mnt'
    assert crate.ok("run", "--rm", "--mount", mount, f"rootfs:{tree}", "/busybox", "ls", "/mnt/busybox") == "/mnt/busybox"


def test_a_directory_that_was_removed_under_the_caller_breaks_nothing(crate: Crate, busybox_image) -> None:
    crate.ok("pull", "-q", str(busybox_image))
    gone = crate.person.directory(crate.directory / "gone")
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    argv = crate.argv("run", "--rm", busybox_image.image.id, "echo", "x")
    done = crate.person.run(["sh", "-c", script, "sh", str(gone), *argv], env=crate.environment)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert (done.returncode, done.stdout) in {(0, "x\n"), (125, "")}


def test_a_home_that_cannot_be_written_is_said(rootless: Crate) -> None:
    done = _plain(rootless, "run", "--rm", "rootfs:/", "true", HOME="/proc", XDG_DATA_HOME="")
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) <= 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("run", "--help"), ("container", "--help"), ("help", "start")])
def test_help_reads_like_a_page(crate: Crate, words: tuple[str, ...]) -> None:
    assert "crate" in crate.ok(*words)


@pytest.mark.parametrize(
    "words", [("rnu", "x"), ("container", "nope"), ("exec", "web", "sh"), ("--what",), ("run", "--rmm", "x")]
)
def test_a_wrong_word_is_125_with_a_hint(crate: Crate, words: tuple[str, ...]) -> None:
    said = crate.fails(*words)
    assert "hint: " in said
    assert len(said.splitlines()) == 2


def test_output_that_nobody_reads_is_no_traceback(rootful: Crate) -> None:
    process = rootful.start("--help", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) in {0, 141}


def test_output_onto_a_full_device_is_said(rootful: Crate) -> None:
    with open("/dev/full", "wb") as full:
        process = rootful.start("version", stdout=full, stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 125
    assert b"No space left" in said
    assert b"Traceback" not in said


def test_the_checkout_is_left_as_it_was(crate: Crate, busybox_image, tmp_path: Path) -> None:
    """Nothing is written into the directory that crate is called from."""
    place = crate.person.directory(crate.directory / "place")
    crate.ok("run", "--rm", "-q", str(busybox_image), "true", cwd=place)
    crate.ok("run", "--rm", "-q", "rootfs:/", "true", cwd=place)
    assert list(place.iterdir()) == []
    shutil.rmtree(place)
