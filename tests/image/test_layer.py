"""Unpacking a layer: what is kept, in whichever form it comes, and who reads it."""

from __future__ import annotations

import gzip
import io
import os
import signal
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from craft import archive, digest, entry, header, pax
from unpacking import names, needs_root, unpack

from cratebox.errors import Unsupported, Untrusted
from cratebox.image import layer

DAY = 86_400_000_000_000


# What is kept.


def test_files_directories_and_links_come_out_as_they_went_in(root: Path) -> None:
    raw = archive(
        entry(b"./", kind=b"5", mode=0o750),
        entry(b"dir/", kind=b"5", mode=0o711),
        entry(b"dir/file", b"content", mode=0o640),
        entry(b"dir/hard", kind=b"1", link=b"dir/file"),
        entry(b"soft", kind=b"2", link=b"dir/file"),
    )
    done = unpack(raw, root)
    assert (root / "dir/file").read_bytes() == b"content"
    assert (root / "dir/hard").samefile(root / "dir/file")
    assert os.readlink(root / "soft") == "dir/file"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (root, root / "dir", root / "dir/file")] == [0o750, 0o711, 0o640]
    assert (done.diff_id, done.size, done.entries) == (digest(raw), 7, 5)


def test_times_are_kept_to_the_nanosecond_on_directories_too(root: Path) -> None:
    unpack(
        archive(
            pax([(b"mtime", b"1234567890.123456789")]),
            entry(b"dir/", kind=b"5"),
            pax([(b"mtime", b"-1.5")]),
            entry(b"dir/old", b"x"),
            entry(b"dir/link", kind=b"2", link=b"old", mtime=77),
        ),
        root,
    )
    assert (root / "dir").stat().st_mtime_ns == 1234567890_123456789
    assert (root / "dir/old").stat().st_mtime_ns == -1_500_000_000
    assert (root / "dir/link").lstat().st_mtime_ns == 77_000_000_000


def test_set_uid_set_gid_and_sticky_bits_are_kept(root: Path) -> None:
    own = {"uid": os.geteuid(), "gid": os.getegid()}
    parts = [
        entry(b"tmp/", kind=b"5", mode=0o1777, **own),
        entry(b"su", b"x", mode=0o4755, **own),
        entry(b"wall", mode=0o2755, **own),
    ]
    unpack(archive(*parts), root)
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("tmp", "su", "wall")] == [0o1777, 0o4755, 0o2755]


def test_the_umask_changes_no_mode(root: Path) -> None:
    before = os.umask(0o077)
    try:
        unpack(archive(entry(b"open", b"x", mode=0o666), entry(b"implicit/file", b"x", mode=0o777)), root)
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "open").stat().st_mode) == 0o666
    assert stat.S_IMODE((root / "implicit").stat().st_mode) == 0o755


@needs_root
def test_owners_are_kept_and_do_not_cost_the_set_uid_bit(root: Path) -> None:
    unpack(
        archive(
            entry(b"d/", kind=b"5", uid=7, gid=8),
            entry(b"d/f", b"x", uid=1000, gid=0o1234, mode=0o6755),
            entry(b"d/s", kind=b"2", link=b"f", uid=5, gid=6),
        ),
        root,
    )
    info = (root / "d/f").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (1000, 0o1234, 0o6755)
    assert ((root / "d").stat().st_uid, (root / "d/s").lstat().st_gid) == (7, 6)


@needs_root
def test_devices_and_fifos_are_made(root: Path) -> None:
    unpack(archive(entry(b"null", kind=b"3", major=1, minor=3, mode=0o666), entry(b"pipe", kind=b"6", mode=0o600)), root)
    info = (root / "null").stat()
    assert (stat.S_ISCHR(info.st_mode), info.st_rdev, stat.S_IMODE(info.st_mode)) == (True, os.makedev(1, 3), 0o666)
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)


@needs_root
def test_file_capabilities_are_kept(root: Path) -> None:
    value = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    unpack(archive(pax([(b"SCHILY.xattr.security.capability", value)]), entry(b"ping", b"x", mode=0o755, uid=3)), root)
    assert os.getxattr(root / "ping", "security.capability") == value


def test_user_attributes_are_kept(root: Path) -> None:
    unpack(archive(pax([(b"SCHILY.xattr.user.note", b"a=b\n\0")]), entry(b"f", b"x")), root)
    assert os.getxattr(root / "f", "user.note") == b"a=b\n\0"


def test_names_may_be_long_and_need_not_be_text(root: Path) -> None:
    long = b"/".join([b"d" * 200] * 5) + b"/" + b"f" * 255
    unpack(
        archive(
            pax([(b"path", long)]),
            entry(b"x", b"1"),
            entry(b"././@LongLink", b"n" * 120 + b"\0", b"L"),
            entry(b"n", b"2"),
            entry(b"bad\xff\xfe", b"3"),
            entry(b"file", b"4", prefix=b"split/by/prefix"),
            entry(b"././@LongLink", b"t" * 300 + b"\0", b"K"),
            entry(b"symlink", kind=b"2", link=b"short"),
        ),
        root,
    )
    assert (root / os.fsdecode(long)).read_bytes() == b"1"
    assert (root / ("n" * 120)).read_bytes() == b"2"
    assert (root / os.fsdecode(b"bad\xff\xfe")).read_bytes() == b"3"
    assert (root / "split/by/prefix/file").read_bytes() == b"4"
    assert os.readlink(root / "symlink") == "t" * 300


@pytest.mark.parametrize("version", ["old", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar_keep_their_holes(root: Path, tmp_path: Path, version: str) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        for position in range(0, 64 << 20, 4 << 20):
            file.seek(position)
            file.write(b"data" * 1024)
        file.truncate(70 << 20)
    form = ["--format=gnu"] if version == "old" else ["--format=pax", f"--sparse-version={version}"]
    made = subprocess.run(["tar", "-C", tmp_path, "-cS", *form, "sparse"], capture_output=True, check=True).stdout
    assert len(made) < 2 << 20
    unpack(made, root)
    assert (root / "sparse").stat().st_size == 70 << 20
    assert (root / "sparse").stat().st_blocks < 8192
    assert subprocess.run(["cmp", source, root / "sparse"]).returncode == 0


def test_a_megabyte_of_zeros_becomes_a_hole_that_reads_the_same(root: Path) -> None:
    data = bytes(5 << 20) + b"end" + bytes(3 << 20)
    unpack(archive(entry(b"zeros", data)), root)
    assert (root / "zeros").read_bytes() == data
    assert (root / "zeros").stat().st_blocks * 512 < 6 << 20


def test_numbers_may_be_binary(root: Path) -> None:
    unpack(archive(header(b"f", size=b"\x80" + (3).to_bytes(11, "big")) + b"abc".ljust(512, b"\0")), root)
    assert (root / "f").read_bytes() == b"abc"


def test_an_archive_without_its_end_is_taken_where_a_header_would_begin(root: Path) -> None:
    unpack(entry(b"f", b"x"), root)
    assert names(root) == {"f"}


def test_what_follows_the_archive_counts_for_the_diff_id(root: Path) -> None:
    raw = archive(entry(b"f", b"x")) + b"trailer" * 1000
    assert unpack(gzip.compress(raw), root).diff_id == digest(raw)


def test_a_stream_of_single_bytes_unpacks_the_same(root: Path) -> None:
    raw = archive(pax([(b"path", b"p" * 150)]), entry(b"f", b"x" * 1000), entry(b"g", b"y"))
    fd = os.open(root, os.O_RDONLY)
    try:
        stream = (raw[i : i + 1] for i in range(len(raw)))
        done = layer.unpack(stream, "", fd, userxattr=True, owners="record", owners_file=io.BytesIO())
    finally:
        os.close(fd)
    assert (names(root), done.diff_id) == ({"p" * 150, "g"}, digest(raw))


# Compression.


@pytest.mark.parametrize(
    "press",
    [
        gzip.compress,
        lambda raw: gzip.compress(raw[:700]) + gzip.compress(raw[700:]),
        lambda raw: gzip.compress(raw) + bytes(100),
        zstandard.compress,
        lambda raw: zstandard.compress(raw[:700]) + zstandard.compress(raw[700:]),
        lambda raw: b"\x50\x2a\x4d\x18\x04\0\0\0note" + zstandard.compress(raw),
        bytes,
    ],
    ids=["gzip", "two members", "padded", "zstd", "two frames", "skippable frame", "plain"],
)
def test_the_first_bytes_tell_the_compression(root: Path, press: object) -> None:
    raw = archive(entry(b"f", os.urandom(5000)))
    assert unpack(press(raw), root, "application/vnd.oci.image.layer.v1.tar+gzip").diff_id == digest(raw)  # type: ignore[operator]


def test_zlib_does_the_work_where_isal_is_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "isal", None)
    raw = archive(entry(b"f", os.urandom(100) * 50_000))
    assert unpack(gzip.compress(raw[:99_999]) + gzip.compress(raw[99_999:]), root).diff_id == digest(raw)


@pytest.mark.parametrize("press", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "followed by something"])
def test_a_damaged_stream_is_refused(root: Path, press: object, harm: str) -> None:
    raw = archive(entry(b"f", os.urandom(50_000)))
    packed = bytearray(press(raw))  # type: ignore[operator]
    if harm == "cut":
        del packed[-3000:]
    elif harm == "flipped":
        packed[len(packed) // 2] ^= 0xFF
        packed[len(packed) // 2 + 1] ^= 0xFF
    else:
        packed += b"something else"
    try:
        found = unpack(bytes(packed), root).diff_id
    except Untrusted:
        return
    assert found != digest(raw), "what the decompressor cannot see, the diff ID must"


@pytest.mark.parametrize("kind", ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "text/plain", "application/json"])
def test_what_is_no_layer_is_not_unpacked(root: Path, kind: str) -> None:
    with pytest.raises(Unsupported):
        unpack(archive(), root, kind)


# Reading ahead.


def test_what_the_stream_raises_is_raised_and_its_thread_is_gone(root: Path) -> None:
    def stream() -> Iterator[bytes]:
        yield entry(b"f", b"x")
        raise LookupError("the network")

    fd = os.open(root, os.O_RDONLY)
    with pytest.raises(LookupError, match="the network"):
        layer.unpack(stream(), "", fd, userxattr=True, owners="record", owners_file=io.BytesIO())
    os.close(fd)
    assert [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"] == []


def test_after_a_refusal_nobody_else_reads_the_stream(root: Path) -> None:
    chunks = iter([entry(b"../f", b"x"), *([b"more"] * 100)])
    fd = os.open(root, os.O_RDONLY)
    with pytest.raises(Untrusted):
        layer.unpack((chunk for chunk in chunks), "", fd, userxattr=True)
    os.close(fd)
    rest = len(list(chunks))
    assert rest > 50
    assert [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"] == []


def test_an_interrupt_does_not_wait_for_a_stalled_stream(root: Path) -> None:
    going_on, ended = threading.Event(), threading.Event()

    def stream() -> Iterator[bytes]:
        yield entry(b"f", b"x")
        going_on.wait(60)
        ended.set()

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    fd = os.open(root, os.O_RDONLY)
    try:
        with pytest.raises(KeyboardInterrupt):
            layer.unpack(stream(), "", fd, userxattr=True, owners="record", owners_file=io.BytesIO())
        assert not ended.is_set()
    finally:
        signal.signal(signal.SIGALRM, before)
        going_on.set()
        os.close(fd)
