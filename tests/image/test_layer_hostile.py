"""Unpacking a layer: what must not get out, and what must not grow without end."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from craft import archive, entry, header, pax, refusal
from inside import IS_ROOT
from unpacking import names, needs_root, unpack

from cratebox.errors import StorageError, Untrusted
from cratebox.image import below, extract, layer, tree

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
