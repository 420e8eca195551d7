"""The tar reader: formats, limits, and that no bytes whatever make it do anything but refuse."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from craft import archive, entry, fingerprint, header, pax, refusal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cratebox.errors import Untrusted
from cratebox.image import layer, tar, tree


def read(raw: bytes, chunk: int = 1000) -> list[tar.Entry]:
    reader = tar.Reader(iter([raw[start : start + chunk] for start in range(0, len(raw), chunk)]))
    found = []
    while (member := reader.next()) is not None:
        found.append(member)
    return found


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["short", "d/" * 40 + "long", "x" * 99, "d" * 120 + "/" + "f" * 90])
def test_it_reads_what_the_standard_library_writes(form: int, name: str) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as out:
        info = tarfile.TarInfo(name)
        info.size, info.uid, info.gid, info.mode, info.mtime = 700, 1234, 4321, 0o4711, 1_600_000_000
        out.addfile(info, io.BytesIO(bytes(700)))
    (found,) = read(raw.getvalue())
    assert (found.name.decode(), found.size, found.uid, found.gid, found.mode) == (name, 700, 1234, 4321, 0o4711)
    assert found.mtime == 1_600_000_000_000_000_000


def test_large_numbers_of_gnu_and_pax_are_read() -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=form) as out:
            info = tarfile.TarInfo("f")
            info.uid, info.mtime = 3_000_000_000, -5
            out.addfile(info)
        (found,) = read(raw.getvalue())
        assert (found.uid, found.mtime) == (3_000_000_000, -5_000_000_000)


def test_a_header_of_the_seventh_edition_is_read() -> None:
    (found,) = read(archive(header(b"old/", b"\0", magic=bytes(8))))
    assert (found.name, found.kind) == (b"old/", tar.DIRECTORY)


def test_a_header_of_gnu_has_no_prefix() -> None:
    (found,) = read(archive(header(b"f", magic=b"ustar  \0", prefix=b"14412342342")))
    assert found.name == b"f"


def test_an_empty_value_of_pax_takes_the_record_back() -> None:
    (found,) = read(archive(pax([(b"path", b"")]), entry(b"f", b"x")))
    assert found.name == b"f"


def test_a_global_header_gives_owners_and_times_but_no_names_and_sizes() -> None:
    records = [(b"path", b"evil"), (b"linkpath", b"evil"), (b"size", b"5"), (b"uid", b"7"), (b"mtime", b"3.5")]
    found = read(archive(pax(records, b"g"), entry(b"a", b"x"), pax([(b"uid", b"8")]), entry(b"b", b"x")))
    assert [(one.name, one.size, one.uid, one.mtime) for one in found] == [
        (b"a", 1, 7, 3_500_000_000),
        (b"b", 1, 8, 3_500_000_000),
    ]


def test_links_and_directories_have_no_data_whatever_their_size_says() -> None:
    raw = archive(header(b"l", b"2", 512, link=b"x"), header(b"h", b"1", 512, link=b"f"), header(b"d", b"5", 512), entry(b"f"))
    assert [one.name for one in read(raw)] == [b"l", b"h", b"d", b"f"]


def test_the_first_block_of_zeros_ends_the_archive() -> None:
    assert [one.name for one in read(entry(b"a") + bytes(512) + entry(b"b"))] == [b"a"]


def test_one_wrong_bit_of_a_header_is_noticed() -> None:
    good = archive(entry(b"name", b"x"))
    for position in (0, 50, 110, 125, 150, 157, 300, 511):
        bad = bytearray(good)
        bad[position] ^= 1
        with pytest.raises(Untrusted, match="tar"):
            read(bytes(bad))


def test_checksums_of_signed_bytes_are_taken() -> None:
    block = bytearray(header(b"\xe4\xf6"))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block)
    assert read(archive(bytes(block)))[0].name == b"\xe4\xf6"


@pytest.mark.parametrize(
    "raw",
    [
        b"not a tar" * 100,
        entry(b"f", b"x" * 2000)[:1500],
        entry(b"f", b"x")[:100],
        header(b"f", size=b"-0000000001\0"),
        header(b"f", size=b"0_1        \0"),
        header(b"f", size=b"89999999999\0"),
        header(b"f", size=b"\xff" * 12),
        header(b"f", size=b"\x80" + b"\xff" * 11),
        header(b"x", b"x", (1 << 20) + 1),
        header(b"x", b"L", 1 << 40),
        pax([(b"path", b"late")]),
        entry(b"x", b"99 path=short\n", b"x") + entry(b"f"),
        entry(b"x", b"5 a=b\n", b"x") + entry(b"f"),
        entry(b"x", b"6 =ab\n", b"x") + entry(b"f"),
        entry(b"x", b"-6 a=b\n", b"x") + entry(b"f"),
        entry(b"x", b"0 a=b\n", b"x") + entry(b"f"),
        entry(b"x", b"6 a=bX", b"x") + entry(b"f"),
        pax([(b"mtime", b"nan")]) + entry(b"f"),
        pax([(b"mtime", b"1.5e3")]) + entry(b"f"),
        pax([(b"size", b"1e3")]) + entry(b"f"),
        entry(b"././@LongLink", b"n" * 5000, b"L") + entry(b"f"),
        pax([(b"GNU.sparse.map", b"0,1,0,1"), (b"GNU.sparse.size", b"5")]) + entry(b"f", b"xx"),
        pax([(b"GNU.sparse.map", b"0,9"), (b"GNU.sparse.size", b"5")]) + entry(b"f", b"123456789"),
        pax([(b"GNU.sparse.map", b"0"), (b"GNU.sparse.size", b"5")]) + entry(b"f", b"x"),
        pax([(b"GNU.sparse.map", b"0,1")]) + entry(b"f", b"x"),
        pax([(b"GNU.sparse.map", b"0,99999999999999999999"), (b"GNU.sparse.size", b"5")]) + entry(b"f", b"x"),
        pax([(b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")]) + entry(b"f", b"x"),
        pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")])
        + entry(b"f", b"9999999\n" + b"1\n" * 9000),
        pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")])
        + entry(b"f", b"7" * 9000),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused(raw: bytes) -> None:
    with pytest.raises(Untrusted) as caught:
        read(raw)
    assert caught.value.message.isprintable()


def test_headers_of_one_entry_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(Untrusted, match="extended headers"):
        read(archive(*(pax([(b"comment%d" % number, b"x" * 1_000_000)]) for number in range(6)), entry(b"f")), 1 << 20)


def test_endless_headers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_ENTRIES", 1000)

    def headers() -> Iterator[bytes]:
        while True:
            yield pax([(b"comment", b"x" * 100)])

    reader = tar.Reader(headers())
    with pytest.raises(Untrusted, match="1000 entries"):
        reader.next()


# Any bytes at all.

names = st.one_of(
    st.sampled_from(
        [b"a", b"b", b"a/b", b"a/b/c", b"./", b"", b"..", b"../x", b"a/../../x", b"/etc/x", b"l", b"l/x", b".wh.a", b"a/.wh.b",
         b"a/.wh..wh..opq", b".wh..", b"a//b", b"a/", b"\xff\n\x1b", b"l/../x", b"b/l/y"]
    ),
    st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\0", b"0")),
)  # fmt: skip
targets = st.sampled_from([b"a", b"..", b"../..", b"/", b"../outside", b"a/b", b"l", b"../outside/file", b"", b"/tmp"])
kinds = st.sampled_from([b"0", b"0", b"1", b"2", b"2", b"5", b"5", b"6", b"7", b"\0", b"S", b"D", b"V", b"g", b"Q"])


@st.composite
def members(draw: st.DrawFn) -> bytes:
    before = b""
    if draw(st.integers(0, 5)) == 0:
        key = draw(
            st.sampled_from([b"path", b"linkpath", b"size", b"GNU.sparse.map", b"SCHILY.xattr.user.overlay.opaque", b"mtime"])
        )
        before = pax([(key, draw(st.one_of(names, targets, st.binary(max_size=12))))])
    kind = draw(kinds)
    data = draw(st.binary(max_size=40)) if kind in (b"0", b"7", b"\0") else b""
    return before + entry(draw(names), data, kind, link=draw(targets), mode=draw(st.integers(0, 0o7777)))


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    database=None,
)
@given(parts=st.lists(members(), max_size=12))
@example(parts=[entry(b"l", kind=b"2", link=b"../outside"), entry(b"l/file", b"evil")])
def test_no_sequence_of_entries_leaves_the_directory(tmp_path: Path, parts: list[bytes]) -> None:
    outside, root = tmp_path / "outside", tmp_path / "layer"
    if not outside.exists():
        outside.mkdir()
        (outside / "file").write_text("mine")
    root.mkdir()
    before = fingerprint(outside)
    here, fd = os.open(tmp_path, os.O_RDONLY), os.open(root, os.O_RDONLY)
    options = {"userxattr": True, "owners": "record", "owners_file": io.BytesIO()}
    said = refusal(lambda: layer.unpack(io.BytesIO(archive(*parts)), "", fd, **options))  # type: ignore[arg-type]
    tree.remove(here, "layer")
    os.close(fd)
    os.close(here)
    assert not said or said.isprintable()
    assert (fingerprint(outside), os.listdir(tmp_path)) == (before, ["outside"])


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    database=None,
)
@given(
    parts=st.lists(members(), min_size=1, max_size=5),
    harm=st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=8)), max_size=4),
    mended=st.booleans(),
    cut=st.integers(0, 6000),
)
def test_no_bytes_at_all_make_the_reader_fail_otherwise_than_by_refusing(
    parts: list[bytes], harm: list[tuple[int, bytes]], mended: bool, cut: int
) -> None:
    raw = bytearray(archive(*parts))
    for position, data in harm:
        start = position % len(raw)
        raw[start : start + len(data)] = data[: len(raw) - start]
    if mended:
        # A checksum that is right again lets the damage through to what is behind it.
        for start in range(0, len(raw) - 511, 512):
            if any(raw[start : start + 512]):
                raw[start + 148 : start + 156] = b" " * 8
                raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])
    said = refusal(lambda: read(bytes(raw[: len(raw) - cut if cut < len(raw) else len(raw)])))
    assert not said or said.isprintable()


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=200))
def test_no_extended_header_makes_the_reader_fail_otherwise_than_by_refusing(raw: bytes) -> None:
    said = refusal(lambda: tar.parse_pax(raw, {}))
    assert not said or said.isprintable()
