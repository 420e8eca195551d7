"""`crate diff`: what a container has changed, by Docker's rules."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cratebox.engine.changes import find
from cratebox.engine.layered import Layered


def diff(box, script: str) -> list[str]:  # type: ignore[no-untyped-def]
    """What `sh -c script` in a new container has changed."""
    box.crate("run", "--name", "changes", box.image, "sh", "-c", script)
    return box.crate.ok("diff", "changes").splitlines()


def test_a_container_that_wrote_nothing_has_no_changes(box) -> None:
    assert diff(box, "true") == []


def test_a_container_that_was_never_started_has_no_changes(box) -> None:
    assert box.crate.ok("diff", box.create("@", "true")) == ""


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("echo x > /etc/new", ["C /etc", "A /etc/new"]),
        ("echo x >> /etc/passwd", ["C /etc", "C /etc/passwd"]),
        ("rm /etc/passwd", ["C /etc", "D /etc/passwd"]),
        ("rm -r /home", ["D /home"]),
        ("rm -r /home; mkdir /home", ["C /home", "D /home/alice"]),
        ("rm -r /home; mkdir -p /home/alice/sub", ["C /home", "C /home/alice", "A /home/alice/sub"]),
        ("rm -r /home; echo x > /home", ["C /home"]),
        ("rm /etc/passwd; mkdir -p /etc/passwd/x", ["C /etc", "C /etc/passwd", "A /etc/passwd/x"]),
        ("chmod 700 /home", ["C /home"]),
        (": >> /etc/passwd", []),  # copied up, not changed
        ("touch -d 2001-01-01 /etc/passwd", ["C /etc", "C /etc/passwd"]),
        ("mkdir -p /a/b/c; ln -s x /a/link; mkfifo /a/fifo", ["A /a", "A /a/b", "A /a/b/c", "A /a/fifo", "A /a/link"]),
        ("mv /home /elsewhere", ["A /elsewhere", "A /elsewhere/alice", "D /home"]),
        ("rm /etc/group; ln /etc/passwd /etc/group", ["C /etc", "C /etc/group"]),
        ("mkdir /etc-x /etc/x", ["C /etc", "A /etc/x", "A /etc-x"]),
    ],
)
def test_each_change_has_a_line(box, script: str, lines: list[str]) -> None:
    assert diff(box, script) == lines


def test_a_running_container_is_compared_as_well_and_what_is_mounted_is_not(box, until) -> None:
    name = box.detached("--tmpfs", "/scratch", "@", "sh", "-c", "echo x > /scratch/no; echo x > /yes; exec sleep 100")
    until(lambda: "A /yes" in box.crate.ok("diff", name).splitlines())
    assert box.crate.ok("diff", name).splitlines() == ["A /scratch", "A /yes"]  # the place to mount on is new, as with Docker


def test_the_list_for_programs_is_podmans(box) -> None:
    box.crate.ok("run", "--name", "web", box.image, "sh", "-c", "echo x > /new; rm -r /home")
    assert json.loads(box.crate.ok("diff", "--format", "json", "web")) == {"added": ["/new"], "deleted": ["/home"]}


def test_a_name_cannot_act_on_the_terminal(box) -> None:
    assert diff(box, r"""touch "$(printf '/a\033[31m\nb')" """) == [r"A /a\x1b[31m\nb"]


def test_a_directory_used_as_it_is_keeps_its_changes_in_memory_which_is_said(root_box) -> None:
    root_box.crate.ok("create", "--name", "memory", "rootfs:/", "true")
    for words in (("diff", "memory"), ("commit", "memory", "made:1")):
        assert "its changes are in memory alone" in root_box.crate.fails(*words)


def test_a_container_made_of_a_copy_is_compared_with_its_layers(box) -> None:
    name = box.create("--name", "copied", "@", "sh", "-c", "rm /etc/group; echo x > /new; echo x >> /etc/passwd")
    box.crate.ok("start", "-a", box.create("@", "true"))
    flag = box.crate.state / "no-overlay"
    box.crate.person.run(["touch", str(flag)])
    box.crate.ok("start", "-a", name)
    assert (box.crate.root / "containers" / name / "copy").is_dir()
    lines = box.crate.ok("diff", name).splitlines()
    assert lines == ["C /etc", "D /etc/group", "C /etc/passwd", "A /new"]


@pytest.fixture
def overlay(rootful, tmp_path: Path):
    """A function that mounts an overlay with options, runs a script in it, and returns its layers, uppermost first."""

    def make(options: str, script: str) -> tuple[str, ...]:
        lower, upper, work, mounted = (rootful.directory / name for name in ("lower", "upper", "work", "merged"))
        for path in (lower / "a/b", lower / "c", upper, work, mounted):
            path.mkdir(parents=True)
        (lower / "a/b/file").write_text("data")
        (lower / "c/old").write_text("old")
        data = f"lowerdir={lower},upperdir={upper},workdir={work},{options}"
        text = f"mount -t overlay overlay {mounted} -o {data} && cd {mounted} && {script}"
        subprocess.run(["unshare", "--mount", "sh", "-ec", text], check=True)
        return str(upper), str(lower)

    return make


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("mv a renamed", ["D /a", "A /renamed", "A /renamed/b", "A /renamed/b/file"]),
        ("mv a/b moved", ["C /a", "D /a/b", "A /moved", "A /moved/file"]),
        ("mv a/b c/moved; mv c d", ["C /a", "D /a/b", "D /c", "A /d", "A /d/moved", "A /d/moved/file", "A /d/old"]),
        ("rm -r c; mv a c", ["D /a", "C /c", "A /c/b", "A /c/b/file", "D /c/old"]),
    ],
)
def test_a_directory_that_the_kernel_renamed_is_followed(overlay, script: str, lines: list[str]) -> None:
    layers = overlay("redirect_dir=on", script)
    with Layered(layers, userxattr=False) as tree:
        found = [f"{change.kind} {change.path}" for change in find(tree, tree.root(), tree.root(1))]
    # Whether the directory itself differs (C /c) is for lstat(2) to say: all of these have one mode and one owner.
    assert found == lines


def test_the_data_of_a_file_that_was_copied_up_without_them_are_found(overlay) -> None:
    layers = overlay("metacopy=on,redirect_dir=on", "chmod 600 a/b/file; mv a/b/file c/moved")
    with Layered(layers, userxattr=False) as tree:
        entry = tree.children(tree.children(tree.root())["c"])["moved"]
        fd = tree.open(entry)
        try:
            assert (os.read(fd, 100), entry.info.st_mode & 0o777) == (b"data", 0o600)
        finally:
            os.close(fd)


def test_what_takes_a_files_place_meanwhile_is_not_opened(tmp_path: Path) -> None:
    """Opening a device may do something: /dev/watchdog of the machine is a node that a container can make."""
    (tmp_path / "file").write_text("data")
    with Layered([str(tmp_path)], userxattr=False) as tree:
        entry = tree.children(tree.root())["file"]
        (tmp_path / "file").unlink()
        os.mkfifo(tmp_path / "file")
        with pytest.raises(OSError, match="no file any more"):
            tree.open(entry)
