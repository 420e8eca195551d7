"""`crate run`: what runs, with what words, and how it ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.commands import Crate


def test_the_output_of_the_command_is_the_output_of_run(box) -> None:
    assert box.run("echo", "hello", "world") == "hello world"


def test_what_the_command_says_on_standard_error_goes_there(box) -> None:
    done = box("sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_the_real_alpine_runs(crate: Crate, alpine_image) -> None:
    said = crate.ok("run", "--rm", str(alpine_image), "/bin/sh", "-c", "echo hello world; cat /etc/alpine-release")
    assert said.startswith("hello world\n3.")


@pytest.mark.parametrize("code", [0, 1, 42, 125, 126, 127, 255])
def test_run_ends_with_the_code_of_the_command(root_box, code: int) -> None:
    assert root_box("sh", "-c", f"exit {code}").returncode == code


def test_run_of_a_user_ends_with_the_code_of_the_command(user_box) -> None:
    assert user_box("sh", "-c", "exit 42").returncode == 42


@pytest.mark.parametrize("number", [6, 9, 15, 34])
def test_a_child_that_dies_of_a_signal_is_128_and_its_number(root_box, number: int) -> None:
    assert root_box("sh", "-c", f"sh -c 'kill -{number} $$; :'; exit $?").returncode == 128 + number


def test_a_command_that_is_killed_is_137(box, until) -> None:
    box.crate.ok("run", "-d", "--name", "victim", box.image, "sleep", "100")
    box.crate.ok("kill", "victim")
    until(lambda: box.status("victim") == "exited")
    document = box.crate.json("inspect", "victim")
    assert document[0]["State"]["ExitCode"] == 137


def test_a_command_that_is_not_there_is_127(box) -> None:
    assert "not found" in box.fails("no-such-command", code=127)
    assert "no such file" in box.fails("/no/such/command", code=127)


def test_a_command_that_cannot_be_executed_is_126(box) -> None:
    assert "permission denied" in box.fails("/etc/passwd", code=126)


def test_a_command_that_is_a_directory_is_126(box) -> None:
    assert "is a directory" in box.fails("/etc", code=126)


def test_a_command_that_is_no_program_is_126(crate: Crate, busybox_base, put, program_text) -> None:
    box = put(crate, program_text(busybox_base, "neither a script nor a program\n"))
    assert "exec format error" in box.fails("/program", code=126).lower()


def test_a_script_whose_interpreter_is_missing_is_127(crate: Crate, busybox_base, put, program_text) -> None:
    assert "no such file" in put(crate, program_text(busybox_base, "#!/no/interpreter\n")).fails("/program", code=127)


def test_a_script_runs(crate: Crate, busybox_base, put, program_text) -> None:
    assert put(crate, program_text(busybox_base, "#!/bin/sh\necho $0 $1\n")).run("/program", "x") == "/program x"


def test_an_empty_word_is_no_command(box) -> None:
    assert 'exec: ""' in box.fails("", code=127)


def test_entrypoint_and_command_are_put_together(crate: Crate, entrypoint_image, put) -> None:
    ready = put(crate, entrypoint_image.image)
    assert ready.run() == "entry default"
    assert ready.run("more", "words") == "entry more words"
    assert ready.run("--entrypoint", "printf", "@", "%s-%s", "a", "b") == "a-b"
    assert ready.run("--entrypoint", "", "@", "echo", "alone") == "alone"


def test_an_entrypoint_of_the_command_line_does_not_take_the_images_command(crate: Crate, entrypoint_image, put) -> None:
    assert put(crate, entrypoint_image.image).run("--entrypoint", "echo", "@") == ""


def test_without_any_command_run_says_so_and_leaves_nothing(crate: Crate, no_command_image, put) -> None:
    ready = put(crate, no_command_image.image)
    assert "no command" in crate.fails("run", ready.image)
    assert crate.ok("ps", "-aq") == ""


def test_flags_after_the_image_belong_to_the_command(box) -> None:
    assert box.run("echo", "--rm", "-it", "--name", "x") == "--rm -it --name x"


def test_a_double_dash_after_the_image_belongs_to_the_command(box) -> None:
    assert box.run("echo", "--", "x") == "-- x"


def test_words_reach_the_command_as_they_are(box) -> None:
    words = ["a b", "", "$HOME", "'", '"', "\\n", "ä€", "*", "--", "\t\x1b[31m"]
    assert box.run("printf", "[%s]", *words) == "".join(f"[{word}]" for word in words)


def test_words_that_are_no_text_reach_the_command_as_they_are(box) -> None:
    assert box.run("printf", "%s", os.fsdecode(b"\xff\xfe")).encode(errors="surrogateescape").hex() == "fffe"


def test_the_command_is_pid_1_itself(box) -> None:
    assert box.run("sh", "-c", "echo $$; cat /proc/1/comm; :") == "1\nsh"


def test_the_command_has_no_other_process_beside_it(box) -> None:
    assert box.run("sh", "-c", "cd /proc; echo [0-9]*") == "1"


def test_with_init_the_reaper_is_pid_1_and_the_code_comes_through(box) -> None:
    done = box("--init", "@", "sh", "-c", "cat /proc/1/comm; exit 7")
    assert done.returncode == 7, done.stderr
    assert done.stdout.strip() in {"catatonit", "tini", "docker-init", "init"}


def test_rm_leaves_nothing(box, until) -> None:
    box.run("true")
    assert box.crate.ok("ps", "-aq") == ""
    until(lambda: list((box.crate.root / "containers").iterdir()) == [])
    assert list((box.crate.root / "names").iterdir()) == []
    assert list((box.crate.state / "containers").iterdir()) == []


def test_without_rm_the_container_stays(box) -> None:
    assert box.crate("run", box.image, "sh", "-c", "exit 3").returncode == 3
    assert box.crate.ok("ps", "-a", "--format", "{{.Status}}").startswith("Exited (3)")


def test_rm_of_a_command_that_is_not_there_leaves_nothing(box) -> None:
    box.fails("no-such-command", code=127)
    assert box.crate.ok("ps", "-aq") == ""


def test_rm_of_an_unknown_user_leaves_nothing(box) -> None:
    assert "no user" in box.fails("-u", "nobody-knows", "@", "true")
    assert box.crate.ok("ps", "-aq") == ""


def test_a_detached_run_prints_its_id_and_goes_on(box, until) -> None:
    identity = box.detached("sh", "-c", "echo said; exec sleep 100")
    assert re.fullmatch("[0-9a-f]{64}", identity)
    until(lambda: box.crate.ok("logs", identity) == "said")
    assert box.crate.ok("ps", "-q", "--no-trunc") == identity


def test_a_detached_run_of_a_missing_command_is_127(box) -> None:
    assert "not found" in box.crate.fails("run", "-d", box.image, "no-such-command", code=127)


def test_a_directory_is_an_image(crate: Crate) -> None:
    assert crate.ok("run", "--rm", "rootfs:/", "echo", "hello") == "hello"


def test_a_directory_as_an_image_stays_as_it_is(crate: Crate, scratch: Path, word: str) -> None:
    tree = crate.person.directory(scratch / word / "tree")
    (tree / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tree / "busybox").chmod(0o755)
    for directory in ("proc", "sys", "dev", "etc"):
        crate.person.directory(tree / directory)
    before = sorted(str(path) for path in tree.rglob("*"))
    said = crate.ok("run", "--rm", f"rootfs:{tree}", "/busybox", "sh", "-c", "echo x > /new && /busybox ls /new")
    assert said == "/new"
    assert sorted(str(path) for path in tree.rglob("*")) == before


def test_a_directory_that_is_not_there_is_no_image(crate: Crate) -> None:
    assert "no such directory" in crate.fails("run", "--rm", "rootfs:/no/such/directory", "true")


@pytest.mark.parametrize("form", ["docker_archive", "oci_archive"])
def test_an_archive_is_an_image(crate: Crate, busybox_image, form: str) -> None:
    assert crate.ok("run", "--rm", getattr(busybox_image, form), "echo", "hello") == "hello"


def test_an_archive_that_is_pulled_gives_its_names_and_one_that_is_run_does_not(crate: Crate, busybox_image) -> None:
    crate.ok("run", "--rm", busybox_image.docker_archive, "true")
    assert crate.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == "<none>:<none>"
    crate.ok("pull", "-q", busybox_image.docker_archive)
    crate.ok("image", "prune", "-f")
    assert crate.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == "busybox:latest"
    assert crate.ok("run", "--rm", "--pull", "never", "busybox", "echo", "hello") == "hello"
    deleted = crate.ok("rmi", "busybox").splitlines()
    assert len(deleted) == len(set(deleted)) > 1


def test_the_transport_oci_takes_a_tag_or_the_only_image(crate: Crate, busybox_image) -> None:
    assert crate.ok("run", "--rm", f"oci:{busybox_image.layout}", "echo", "x") == "x"
    assert "no-such" in crate.fails("run", "--rm", f"oci:{busybox_image.layout}:no-such", "true")


@pytest.mark.parametrize(
    "image",
    [
        "oci:/no/such",
        "docker-archive:/no/such",
        "oci-archive:/no/such",
        "oci:",
        "rootfs:",
        ":x",
        "a b",
        "UPPER",
        "",
        "x@sha256:1",
    ],
)
def test_what_is_no_image_is_said_in_a_line_and_a_hint(rootful: Crate, image: str) -> None:
    said = rootful.fails("run", "--rm", image, "true")
    assert len(said.splitlines()) <= 2, said
    assert said.startswith("crate run: ")


def test_a_missing_image_with_pull_never_is_said(box) -> None:
    assert "example.invalid/x" in box.crate.fails("run", "--rm", "--pull", "never", "example.invalid/x", "true")


@pytest.fixture
def program_text() -> Callable[..., object]:
    """A function that puts an executable file /program with this text on top of an image."""
    from support.images import Image, Tree

    def add(base: Image, text: str) -> Image:
        return Image((*base.layers, Tree().file("program", text, mode=0o755).layer()), base.config)

    return add
