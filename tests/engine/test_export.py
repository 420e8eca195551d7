"""`crate export`: a container's files as a tar archive that other tools read."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import tarfile
from pathlib import Path

import pytest

LONG = "d" * 60 + "/" + "f" * 120
SCRIPT = f"""
echo data > /one; ln /one /two; ln -s /one /link; mkfifo /fifo; mkdir -p /{LONG.partition("/")[0]}; echo long > /{LONG}
ln -s {"t" * 150} /far; truncate -s 3000000 /sparse; echo end >> /sparse
chown 5:60000 /one; chmod 4755 /one; touch -d @1000000000 /one
: > "$(printf '/odd\\nname\\303\\244')"; rm /etc/group
"""


def exported(box, *words: str) -> tarfile.TarFile:  # type: ignore[no-untyped-def]
    done = box.crate("export", *words, text=False, errors=None)
    assert done.returncode == 0, done.stderr
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


@pytest.fixture
def made(box) -> str:
    """A container that has made files of every kind, and ended."""
    box.crate.ok("run", "--name", "web", box.image, "sh", "-ec", SCRIPT)
    return "web"


def test_files_of_every_kind_are_in_it(box, made: str) -> None:
    archive = exported(box, made)
    one = archive.getmember("one")
    assert (one.uid, one.gid, one.mode, one.mtime, one.size) == (5, 60000, 0o4755, 1_000_000_000, 5)
    two = archive.getmember("two")
    assert (two.islnk(), two.linkname) == (True, "one")
    assert archive.getmember("link").linkname == "/one"
    assert archive.getmember("far").linkname == "t" * 150
    assert archive.getmember("fifo").isfifo()
    assert archive.extractfile(LONG).read() == b"long\n"  # type: ignore[union-attr]
    assert archive.extractfile("sparse").read() == bytes(3_000_000) + b"end\n"  # type: ignore[union-attr]
    assert "odd\nnameä" in archive.getnames()
    assert "etc/group" not in archive.getnames()


def test_what_is_mounted_in_a_container_is_not_in_it(box, until) -> None:
    name = box.detached("--tmpfs", "/scratch", "@", "sh", "-c", "echo x > /scratch/no; echo x > /yes; exec sleep 100")
    until(lambda: "A /yes" in box.crate.ok("diff", name).splitlines())
    names = exported(box, name).getnames()
    assert {"yes", "proc", "sys", "dev", "scratch"} <= set(names)
    assert not [inside for inside in names if inside.startswith(("proc/", "sys/", "dev/", "scratch/"))]


def test_the_archive_is_the_same_each_time_and_sorted(box, made: str) -> None:
    first, second = (box.crate("export", made, text=False, errors=None).stdout for _ in range(2))
    assert first == second
    names = [name.split("/") for name in exported(box, made).getnames()]
    assert names == sorted(names)


def test_a_file_of_output_is_the_same_archive_with_holes(box, made: str) -> None:
    path = box.crate.person.home / "out.tar"
    box.crate.ok("export", "-o", path, made)
    raw = path.read_bytes()
    assert raw == box.crate("export", made, text=False, errors=None).stdout
    info = path.stat()
    assert (info.st_mode & 0o777, info.st_uid) == (0o600, box.crate.person.uid)
    assert info.st_blocks * 512 < info.st_size - 1_000_000


def test_other_tools_read_it(box, made: str, tmp_path: Path) -> None:
    done = box.crate("export", made, text=False, errors=None)
    for tool in (["tar", "-t"], ["busybox", "tar", "-t"]):
        listed = subprocess.run(tool, input=done.stdout, capture_output=True, check=True).stdout
        assert LONG.encode() in listed.splitlines()
    subprocess.run(["tar", "-xC", tmp_path, "--exclude=dev/*"], input=done.stdout, check=True)
    assert (tmp_path / "sparse").stat().st_size == 3_000_004


def test_attributes_and_devices_are_in_it(root_box) -> None:
    root_box.crate.ok("run", "--name", "web", root_box.image, "sh", "-ec", "echo x > /file; mknod /null c 1 3")
    upper = next((root_box.crate.root / "containers").glob("*/rw/upper"))
    os.setxattr(upper / "file", "user.note", b"hello\0=\n")
    os.setxattr(upper / "file", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    archive = exported(root_box, "web")
    assert archive.getmember("file").pax_headers["SCHILY.xattr.user.note"] == "hello\0=\n"
    assert "SCHILY.xattr.security.capability" in archive.getmember("file").pax_headers
    assert (archive.getmember("null").ischr(), archive.getmember("null").devmajor, archive.getmember("null").devminor) == (
        True,
        1,
        3,
    )


def test_a_terminal_is_refused(box, made: str) -> None:
    leader, follower = pty.openpty()
    try:
        done = box.crate("export", made, stdout=follower, capture_output=False, stderr=subprocess.PIPE)
        assert (done.returncode, "does not belong on a terminal" in done.stderr) == (125, True)
    finally:
        os.close(leader)
        os.close(follower)


def test_a_full_disk_leaves_the_old_file_as_it_was(root_box, small_store: Path) -> None:
    root_box.crate.ok("run", "--name", "web", root_box.image, "sh", "-c", "head -c 120000000 /dev/urandom > /big")
    target = small_store / "web.tar"
    target.write_text("old")
    message = root_box.crate.fails("export", "-o", target, "web")
    assert f"cannot write {target}: No space left on device" in message
    assert [path.name for path in small_store.iterdir()] == ["web.tar"]
    assert target.read_text() == "old"


def test_a_place_that_cannot_be_written_is_said(box, made: str) -> None:
    assert "cannot write /proc/x" in box.crate.fails("export", "-o", "/proc/x", made)
    assert "No space left on device" in box.crate.fails("export", "-o", "/dev/full", made)


def test_a_reader_that_goes_away_is_no_error_to_tell(box, made: str) -> None:
    process = box.crate.start("export", made, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (141, b"")
    process.stderr.close()


def test_a_container_that_changes_meanwhile_is_exported_all_the_same(box) -> None:
    busy = "while :; do for n in 1 2 3 4 5 6 7 8 9; do echo $n > /f$n; mkdir -p /d$n/x; done; rm -rf /f* /d*; done"
    name = box.detached("@", "sh", "-c", busy)
    for _ in range(5):
        assert "etc/passwd" in exported(box, name).getnames()
