"""Unpacking a layer: what is kept, and what must not get out."""

from __future__ import annotations

import gzip
import io
import os
import signal
import stat
import struct
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from craft import archive, digest, entry, fingerprint, header, pax, refusal
from inside import FIRST_SUBORDINATE, IS_ROOT, USER, run_as_user

from cratebox.errors import StorageError, Unsupported, Untrusted
from cratebox.image import below, extract, layer, tree

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root: devices, owners and trusted attributes")
DAY = 86_400_000_000_000


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A tree beside the layer that nothing in a layer may reach: the same before and after."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "file").write_text("mine")
    (outside / "deep/link").symlink_to("../file")
    before = fingerprint(outside)
    yield outside
    assert fingerprint(outside) == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "layer"
    made.mkdir()
    return made


def unpack(raw: bytes, root: Path, media_type: str = "", **options: object) -> layer.Unpacked:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        options.setdefault("userxattr", not IS_ROOT)
        options.setdefault("owners", "keep" if IS_ROOT else "record")
        options.setdefault("owners_file", io.BytesIO())
        return layer.unpack(io.BytesIO(raw), media_type, fd, **options)  # type: ignore[arg-type]
    finally:
        os.close(fd)


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


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


# Whiteouts.


def opaque(path: Path) -> bytes:
    return os.getxattr(path, "trusted.overlay.opaque" if IS_ROOT else "user.overlay.opaque")


def is_whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def test_a_whiteout_becomes_a_device_0_0(root: Path) -> None:
    unpack(archive(entry(b"etc/.wh.gone")), root)
    assert is_whiteout(root / "etc/gone")
    assert names(root) == {"etc", "etc/gone"}


def test_an_opaque_directory_is_marked_for_overlayfs(root: Path) -> None:
    unpack(archive(entry(b"d/", kind=b"5"), entry(b"d/.wh..wh..opq"), entry(b"d/new", b"x")), root)
    assert opaque(root / "d") == b"y"
    assert names(root) == {"d", "d/new"}


def test_an_opaque_directory_without_an_entry_of_its_own_is_made(root: Path) -> None:
    unpack(archive(entry(b"d/.wh..wh..opq")), root)
    assert opaque(root / "d") == b"y"


@pytest.mark.parametrize("order", [1, -1], ids=["whiteout first", "whiteout last"])
def test_a_directory_that_a_layer_deletes_and_makes_again_is_opaque(root: Path, order: int) -> None:
    parts = [entry(b".wh.d"), entry(b"d/", kind=b"5") + entry(b"d/new", b"x")]
    unpack(archive(*parts[::order]), root)
    assert opaque(root / "d") == b"y"
    assert (root / "d/new").read_bytes() == b"x"


def test_a_directory_made_again_without_an_entry_is_opaque_too(root: Path) -> None:
    unpack(archive(entry(b".wh.d"), entry(b"d/e/new", b"x")), root)
    assert opaque(root / "d") == b"y"


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_that_a_layer_deletes_and_makes_again_stays(root: Path, order: int) -> None:
    unpack(archive(*[entry(b".wh.f"), entry(b"f", b"x")][::order]), root)
    assert (root / "f").read_bytes() == b"x"


def test_notes_of_aufs_are_ignored(root: Path) -> None:
    unpack(archive(entry(b".wh..wh.aufs"), entry(b".wh..wh.plnk/", kind=b"5"), entry(b".wh..wh.plnk/1.2", b"x")), root)
    assert names(root) == set()


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh...", b"../.wh.x"])
def test_a_whiteout_of_no_file_is_refused(root: Path, canary: Path, name: bytes) -> None:
    with pytest.raises(Untrusted):
        unpack(archive(entry(name)), root)


@needs_root
def test_overlayfs_hides_what_whiteouts_delete(tmp_path: Path) -> None:
    if run_overlay(tmp_path, userxattr=False) is not None:
        pytest.fail("the overlay showed what was deleted")


def run_overlay(tmp_path: Path, *, userxattr: bool) -> str | None:
    """Unpack two layers, mount them, and return what is wrong, or None."""
    from cratebox.linux import const
    from cratebox.linux._libc import checked

    lower, upper, merged = (tmp_path / name for name in ("lower", "upper", "merged"))
    for directory in (lower, upper, merged):
        directory.mkdir()
    options = {"userxattr": userxattr, "owners": "keep"}
    unpack(archive(entry(b"a", b"1"), entry(b"d/x", b"1"), entry(b"o/x", b"1"), entry(b"keep", b"1")), lower, **options)
    unpack(archive(entry(b".wh.a"), entry(b"d/.wh.x"), entry(b"o/.wh..wh..opq"), entry(b"o/y", b"2")), upper, **options)
    pid = os.fork()
    if pid == 0:
        try:
            if not userxattr:
                checked("unshare", const.SYS_unshare, const.CLONE_NEWNS)
                checked("private", const.SYS_mount, b"none", b"/", None, const.MS_REC | const.MS_PRIVATE, None)
            data = f"lowerdir={upper}:{lower}" + (",userxattr" if userxattr else "")
            checked("mount", const.SYS_mount, b"overlay", os.fsencode(merged), b"overlay", 0, data.encode())
            os._exit(0 if names(merged) == {"keep", "d", "o", "o/y"} else 1)
        except BaseException:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if code == 0 else f"exit code {code}"


# Rootless.


@pytest.fixture
def user_root(tmp_path: Path) -> Path:
    """An empty directory of the ordinary user's."""
    made = tmp_path / "user"
    made.mkdir()
    if IS_ROOT:
        os.chown(made, USER, USER)
        for above in made.parents:
            if above == Path("/tmp"):
                break
            above.chmod(0o755)
    return made


@needs_root
def test_rootless_files_belong_to_subordinate_ids(user_root: Path) -> None:
    raw = archive(entry(b"mine", b"x"), entry(b"theirs", b"x", uid=33, gid=33, mode=0o4755))
    run_as_user(lambda: unpack(raw, user_root, userxattr=True, owners="keep"), one_id=False)
    assert ((user_root / "mine").stat().st_uid, (user_root / "theirs").stat().st_uid) == (USER, FIRST_SUBORDINATE + 32)
    assert stat.S_IMODE((user_root / "theirs").stat().st_mode) == 0o4755


@needs_root
def test_rootless_file_capabilities_are_those_of_the_namespace(user_root: Path) -> None:
    value = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    raw = archive(pax([(b"SCHILY.xattr.security.capability", value)]), entry(b"ping", b"x", mode=0o755))
    run_as_user(lambda: unpack(raw, user_root, userxattr=True), one_id=False)
    stored = os.getxattr(user_root / "ping", "security.capability")
    assert struct.unpack("<I", stored[:4])[0] >> 24 == 3
    assert struct.unpack("<I", stored[20:24])[0] == USER


def test_with_a_single_id_owners_are_recorded_and_set_uid_is_not_set(user_root: Path) -> None:
    raw = archive(
        entry(b"mine", b"x", mode=0o4755), entry(b"a\tb", b"x", uid=33, gid=34, mode=0o6755), entry(b"d/", kind=b"5", uid=1)
    )

    def work() -> bytes:
        record = io.BytesIO()
        unpack(raw, user_root, userxattr=True, owners="record", owners_file=record)
        return record.getvalue()

    record = run_as_user(work, one_id=True)
    assert record == b"a\\011b\t33\t34\t6755\nd/\t1\t0\t755\n"
    assert stat.S_IMODE((user_root / "mine").stat().st_mode) == 0o4755
    assert stat.S_IMODE((user_root / "a\tb").stat().st_mode) == 0o755


def test_an_owner_outside_of_the_map_is_an_error_that_names_the_remedy(user_root: Path) -> None:
    raw = archive(entry(b"f", b"x", uid=33))
    with pytest.raises(StorageError, match="'f' to 33:0") as caught:
        run_as_user(lambda: _as_storage_error(lambda: unpack(raw, user_root, userxattr=True, owners="keep")), one_id=True)
    assert "/etc/subuid" in str(caught.value.args)


def _as_storage_error(work: object) -> None:
    try:
        work()  # type: ignore[operator]
    except StorageError as error:
        raise StorageError(f"{error.message} / {error.hint}") from None


def test_rootless_devices_are_skipped_and_told_while_whiteouts_work(user_root: Path) -> None:
    raw = archive(entry(b"null", kind=b"3", major=1, minor=3), entry(b".wh.gone"), entry(b"pipe", kind=b"6"))
    done = run_as_user(lambda: unpack(raw, user_root, userxattr=True).as_dict(), one_id=True)
    assert done["skipped"] == ("'null': this user may not make devices",)
    assert is_whiteout(user_root / "gone")
    assert names(user_root) == {"gone", "pipe"}


def test_rootless_overlayfs_hides_what_whiteouts_delete(user_root: Path) -> None:
    assert run_as_user(lambda: run_overlay(user_root, userxattr=True), one_id=True) is None


def test_where_no_device_can_be_made_whiteouts_are_files_that_overlayfs_knows(
    user_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    monkeypatch.setattr(os, "mknod", refuse)
    wrong = run_as_user(lambda: run_overlay(user_root, userxattr=True), one_id=True)
    assert os.getxattr(user_root / "upper/a", "user.overlay.whiteout") == b"y"
    assert os.getxattr(user_root / "upper/d", "user.overlay.opaque") == b"x"
    if release < (6, 8):
        pytest.skip("overlayfs reads such whiteouts since Linux 6.8")
    assert wrong is None


# What must not get out.

HOSTILE: dict[str, Callable[[bytes], list[bytes]]] = {
    "dot-dot": lambda out: [entry(b"../outside/file", b"evil")],
    "dot-dot deep": lambda out: [entry(b"a/../../outside/file", b"evil")],
    "dot-dot directory": lambda out: [entry(b"../outside/deep/", kind=b"5", mode=0o777)],
    "dot-dot only": lambda out: [entry(b"..", kind=b"5")],
    "dot-dot in pax": lambda out: [pax([(b"path", b"../outside/file")]), entry(b"x", b"evil")],
    "dot-dot in a long name": lambda out: [entry(b"././@LongLink", b"../outside/file\0", b"L"), entry(b"x", b"evil")],
    "dot-dot in a prefix": lambda out: [entry(b"file", b"evil", prefix=b"../outside")],
    "symlink file": lambda out: [entry(b"l", kind=b"2", link=b"../outside/file"), entry(b"l", b"evil")],
    "symlink parent": lambda out: [entry(b"l", kind=b"2", link=b"../outside"), entry(b"l/file", b"evil")],
    "absolute symlink parent": lambda out: [entry(b"l", kind=b"2", link=out), entry(b"l/file", b"evil")],
    "symlink to the root": lambda out: [entry(b"l", kind=b"2", link=b"/"), entry(b"l" + out + b"/file", b"evil")],
    "symlink chain": lambda out: [
        entry(b"a", kind=b"2", link=b".."),
        entry(b"b", kind=b"2", link=b"a/.."),
        entry(b"c", kind=b"2", link=b"b/outside"),
        entry(b"c/file", b"evil"),
    ],
    "symlink then directory": lambda out: [entry(b"l", kind=b"2", link=b"../outside"), entry(b"l/", kind=b"5", mode=0o777)],
    "symlink in place of an open directory": lambda out: [
        entry(b"d/", kind=b"5"),
        entry(b"d/x", b"1"),
        entry(b"d", kind=b"2", link=b"../outside"),
        entry(b"d/file", b"evil"),
    ],
    "hard link by dot-dot": lambda out: [entry(b"h", kind=b"1", link=b"../outside/file"), entry(b"h", b"evil")],
    "hard link by an absolute name": lambda out: [entry(b"h", kind=b"1", link=out + b"/file"), entry(b"h", b"evil")],
    "hard link through a symlink": lambda out: [
        entry(b"l", kind=b"2", link=b"../outside"),
        entry(b"h", kind=b"1", link=b"l/file"),
        entry(b"h", b"evil"),
    ],
    "hard link to a symlink": lambda out: [
        entry(b"l", kind=b"2", link=b"../outside/file"),
        entry(b"h", kind=b"1", link=b"l"),
        entry(b"h", b"evil", mode=0o777),
    ],
    "hard link to a symlink that stays": lambda out: [
        entry(b"l", kind=b"2", link=b"../outside/file"),
        entry(b"h", kind=b"1", link=b"l"),
    ],
    "whiteout by dot-dot": lambda out: [entry(b"../outside/.wh.file")],
    "whiteout through a symlink": lambda out: [entry(b"l", kind=b"2", link=b"../outside"), entry(b"l/.wh.file")],
    "opaque through a symlink": lambda out: [entry(b"l", kind=b"2", link=b"../outside"), entry(b"l/.wh..wh..opq")],
    "opaque on a symlink": lambda out: [entry(b"d/.wh..wh..opq"), entry(b"d", kind=b"2", link=b"../outside")],
    "whiteout of a symlink": lambda out: [entry(b"l", kind=b"2", link=b"../outside"), entry(b".wh.l")],
    "directory's mode through a symlink": lambda out: [
        entry(b"d/", kind=b"5", mode=0o777, mtime=1),
        entry(b"d", kind=b"2", link=b"../outside"),
    ],
    "replacing a directory with links in it": lambda out: [
        entry(b"d/l", kind=b"2", link=b"../../outside"),
        entry(b"d/m", kind=b"2", link=out),
        entry(b"d", b"a file now"),
    ],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_layer_does_not_leave_its_directory(root: Path, canary: Path, name: str) -> None:
    assert len(str(canary)) < 90, "it must fit into a header"
    said = refusal(lambda: unpack(archive(*HOSTILE[name](os.fsencode(canary))), root))
    # Refused for what it tries, not because the test made no tar.
    assert "header" not in said
    assert "cut short" not in said


def test_a_parent_that_is_a_symlink_of_the_layer_is_followed_inside(root: Path) -> None:
    unpack(
        archive(
            entry(b"usr/lib/", kind=b"5"),
            entry(b"lib", kind=b"2", link=b"/usr/lib"),
            entry(b"lib/x", b"1"),
            entry(b"lib/new/y", b"2"),
        ),
        root,
    )
    assert names(root) == {"usr", "usr/lib", "lib", "usr/lib/x", "usr/lib/new", "usr/lib/new/y"}


def test_a_parent_that_is_replaced_is_looked_up_again(root: Path) -> None:
    unpack(
        archive(
            entry(b"a/", kind=b"5"),
            entry(b"b/", kind=b"5"),
            entry(b"l", kind=b"2", link=b"a"),
            entry(b"l/x", b"1"),
            entry(b"l", kind=b"2", link=b"b"),
            entry(b"l/x", b"2"),
            entry(b"a", kind=b"2", link=b"b"),
            entry(b"a/y", b"3"),
        ),
        root,
    )
    assert names(root) == {"a", "b", "l", "b/x", "b/y"}


def test_absolute_names_mean_the_root_of_the_layer(root: Path) -> None:
    unpack(archive(entry(b"/etc/x", b"1"), entry(b"//y", b"2"), entry(b"z", kind=b"1", link=b"/etc/x")), root)
    assert names(root) == {"etc", "etc/x", "y", "z"}


@pytest.mark.parametrize(
    "parts",
    [
        [entry(b"", b"x")],
        [entry(b".", b"x")],
        [entry(b"d/.", b"x")],
        [entry(b"f/", b"x")],
        [entry(b"l", kind=b"2", link=b"")],
        [entry(b"h", kind=b"1", link=b"nothing")],
        [entry(b"h", kind=b"1", link=b"")],
        [entry(b"d/", kind=b"5"), entry(b"h", kind=b"1", link=b"d")],
        [entry(b"f", b"x"), entry(b"f/g", b"x")],
        [entry(b"l", kind=b"2", link=b"nowhere"), entry(b"l/x", b"1")],
        [entry(b"l", kind=b"2", link=b"l"), entry(b"l/x", b"1")],
        [entry(b"x" * 50 + b"/", kind=b"5"), pax([(b"path", b"y" * 256)]), entry(b"z", b"")],
        [pax([(b"path", b"a\0b")]), entry(b"x", b"")],
        [entry(b"f", kind=b"Z")],
        [entry(b"f", kind=b"M")],
        [entry(b"dev", kind=b"3", major=0o7777777, minor=1)],
        [pax([(b"uid", b"4294967295")]), entry(b"x", b"")],
        [pax([(b"uid", b"-1")]), entry(b"x", b"")],
        [pax([(b"size", b"99999999999999999999")]), entry(b"x", b"")],
    ],
)
def test_what_no_file_system_can_hold_is_refused_with_one_line(root: Path, canary: Path, parts: list[bytes]) -> None:
    with pytest.raises(Untrusted) as caught:
        unpack(archive(*parts), root)
    assert "\n" not in caught.value.message
    assert caught.value.message.isprintable()


def test_control_bytes_of_a_name_do_not_reach_the_message(root: Path) -> None:
    with pytest.raises(Untrusted) as caught:
        unpack(archive(entry(b"\x1b[2J../x\n/../y", b"")), root)
    assert caught.value.message.isprintable()


def test_later_entries_replace_earlier_ones(root: Path) -> None:
    unpack(
        archive(
            entry(b"f", b"1"),
            entry(b"f", b"two"),
            entry(b"d/e/x", b"1"),
            entry(b"d", b"a file"),
            entry(b"g", b"a file"),
            entry(b"g/", kind=b"5", mode=0o700),
            entry(b"g/x", b"1"),
            entry(b"l", kind=b"2", link=b"f"),
            entry(b"l", kind=b"2", link=b"g"),
            entry(b"same/", kind=b"5", mode=0o700),
            entry(b"same/x", b"1"),
            entry(b"same/", kind=b"5", mode=0o711),
        ),
        root,
    )
    assert names(root) == {"f", "d", "g", "g/x", "l", "same", "same/x"}
    assert ((root / "f").read_bytes(), os.readlink(root / "l")) == (b"two", "g")
    assert stat.S_IMODE((root / "same").stat().st_mode) == 0o711


@pytest.mark.parametrize(
    "name",
    ["trusted.overlay.opaque", "user.overlay.opaque", "user.overlay.redirect", "trusted.overlay.redirect", "trusted.x",
     "security.selinux", "security.ima"],
)  # fmt: skip
def test_attributes_that_would_steer_overlayfs_or_the_host_are_not_taken(root: Path, name: str) -> None:
    unpack(archive(pax([(b"SCHILY.xattr." + name.encode(), b"y")]), entry(b"d/", kind=b"5")), root)
    assert os.listxattr(root / "d") == []


@needs_root
def test_the_kernels_form_of_a_whiteout_is_not_taken_from_a_layer(root: Path) -> None:
    assert "whiteout" in unpack(archive(entry(b"f", kind=b"3")), root).skipped[0]
    assert names(root) == set()


def test_an_attribute_that_the_file_system_refuses_is_told(root: Path) -> None:
    done = unpack(archive(pax([(b"SCHILY.xattr.security.capability", b"nonsense")]), entry(b"f", b"x")), root)
    assert len(done.skipped) == 1


# Bombs.


def test_ten_gigabytes_of_zeros_take_neither_memory_nor_disk(tmp_path: Path) -> None:
    """In a process of its own, whose peak memory is its own."""
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 11 << 30:
        pytest.skip("the disk has not 11 GB free, so the layer would be refused")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            import resource

            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            (tmp_path / "x").mkdir()
            press = zstandard.ZstdCompressor(level=1).compressobj()

            def stream() -> Iterator[bytes]:
                yield press.compress(header(b"zeros", size=b"\x80" + (10 << 30).to_bytes(11, "big")))
                for _ in range(10 << 10):
                    yield press.compress(bytes(1 << 20))
                yield press.compress(bytes(1024)) + press.flush()

            fd = os.open(tmp_path / "x", os.O_RDONLY)
            layer.unpack(stream(), "", fd, userxattr=True, owners="record", owners_file=io.BytesIO())
            info = (tmp_path / "x/zeros").stat()
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
            code = 0 if info.st_size == 10 << 30 and info.st_blocks < 65536 and grown < 50 else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_file_that_cannot_fit_is_refused_before_it_is_written(root: Path) -> None:
    with pytest.raises(StorageError, match="more space than the disk has"):
        unpack(header(b"big", size=b"\x80" + (1 << 55).to_bytes(11, "big")) + bytes(4096), root)
    assert names(root) == set()


def test_a_sparse_file_may_be_larger_than_the_disk(root: Path) -> None:
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    size = min(free * 2, 15 << 40)
    records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.numblocks", b"1")]
    unpack(archive(pax([records[0], records[2], (b"GNU.sparse.map", b"0,1")]), entry(b"f", b"x")), root)
    assert (root / "f").stat().st_size == size


def test_a_layer_that_goes_on_after_its_end_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "_MAX_TRAILER", 1 << 20)
    with pytest.raises(Untrusted, match="goes on"):
        unpack(gzip.compress(archive(entry(b"f", b"x")) + bytes(3 << 20)), root)


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    if not IS_ROOT:
        pytest.skip("needs root to mount a small file system")
    from cratebox.linux import const
    from cratebox.linux._libc import checked

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            checked("unshare", const.SYS_unshare, const.CLONE_NEWNS)
            checked("private", const.SYS_mount, b"none", b"/", None, const.MS_REC | const.MS_PRIVATE, None)
            checked("mount", const.SYS_mount, b"tmpfs", os.fsencode(tmp_path), b"tmpfs", 0, b"size=80m")
            (tmp_path / "x").mkdir()
            extract._MARGIN = 0
            parts = [entry(b"f%d" % number, os.urandom(1 << 20)) for number in range(70)]
            parts += [entry(b"g%d" % number, os.urandom(1 << 20)) for number in range(70)]
            fd = os.open(tmp_path / "x", os.O_RDONLY)
            space = os.statvfs
            extract.os.fstatvfs = lambda _fd: space("/")  # the disk fills while the layer is unpacked
            layer.unpack(iter([*parts]), "", fd, userxattr=False)
        except StorageError as error:
            code = 0 if "no space left on the disk" in error.message and error.hint else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_directories_that_would_fill_the_memory_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(below, "_MAX_HELD", 1 << 20)
    value = pax([(b"SCHILY.xattr.user.big", b"x" * 100_000)])
    with pytest.raises(Untrusted, match="than any real one"):
        unpack(archive(*(value + entry(b"d%d/" % number, kind=b"5") for number in range(20))), root)


def test_directories_that_are_replaced_without_end_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(below, "_MAX_WORK", 1000)
    with pytest.raises(Untrusted, match="again and again"):
        unpack(archive(entry(b"a/", kind=b"5"), *([entry(b"d/", kind=b"5"), entry(b"d", b"x")] * 1000)), root)


def test_a_tree_deeper_than_a_path_may_be_is_made_and_deleted(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    root.mkdir()
    parts = []
    for number in range(6):
        deep = b"/".join([b"%d" % number] + [b"d" * 100] * 30)
        above = b"l%d" % (number - 1) + b"/" if number else b""
        # Each link leads to the end of what was made so far, so names stay short while the tree gets deep.
        parts += [pax([(b"path", above + deep + b"/")]), entry(b"x", kind=b"5")]
        parts += [pax([(b"linkpath", above + deep)]), entry(b"l%d" % number, kind=b"2")]
    unpack(archive(*parts), root)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        tree.remove(fd, "deep")
    finally:
        os.close(fd)
    assert not root.exists()


def test_descriptors_are_not_used_up_by_many_directories(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    unpack(archive(*(entry(b"d%d/f" % number, b"x") for number in range(3000))), root)
    unpack(archive(*(entry(b"e%d/f/" % number, kind=b"5") for number in range(3000))), root)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(names(root)) == 12000


def test_the_standard_library_unpacks_the_same_tree(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    raw = archive(
        *(
            entry(b"d%d/file%d" % (number % 7, number), os.urandom(number * 37), mode=0o600 + number % 64)
            for number in range(200)
        )
    )
    unpack(raw, root)
    with tarfile.open(fileobj=io.BytesIO(raw)) as file:
        file.extractall(other, **({"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}))
    for path in other.rglob("*"):
        if path.is_file():
            mine = root / path.relative_to(other)
            assert (mine.read_bytes(), mine.stat().st_mode) == (path.read_bytes(), path.stat().st_mode)


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
