"""The log of a container as files: what goes in comes out, in both forms, across any number of files."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cratebox.engine import log_reading, turned_files
from cratebox.engine.log_reading import Wanted
from cratebox.engine.logs import LogWish, LogWriter

DRIVERS = ("json-file", "k8s-file")
BOTH = pytest.mark.parametrize("driver", DRIVERS)


def entries(path: Path, **wanted: int | None) -> list[tuple[str, int, bytes, dict[str, str]]]:
    return [entry for some in log_reading.read(str(path), Wanted(**wanted)) for entry in some]  # type: ignore[arg-type]


def said(path: Path, stream: str = "stdout", **wanted: int | None) -> bytes:
    return b"".join(entry[2] for entry in entries(path, **wanted) if entry[0] == stream)


def write(path: Path, *chunks: bytes, **wish: object) -> None:
    writer = LogWriter(str(path), LogWish(**wish))
    for chunk in chunks:
        writer.write("stdout", chunk)
    writer.close()
    assert writer.error == ""


SPECIAL = st.sampled_from(
    [
        b"\n",
        b"\\",
        b'"',
        b"\\n",
        b"\0",
        b"\x1b[0m",
        b"\r\n",
        b"\x7f",
        b"\xff",
        b"\xc3",
        "ü€😀".encode(),
        b"\xed\xb2\x80",
        b"x" * 20_000,
    ]
)
CHUNKS = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.lists(SPECIAL | st.binary(max_size=40)).map(b"".join)))


@settings(max_examples=150, deadline=None)
@given(CHUNKS, st.sampled_from(DRIVERS), st.sampled_from([0, 1, 300, 5000]))
@example([("stdout", b'a\\n\nb"\\\n\\\\\n\n')], "json-file", 0)
@example([("stdout", b"\xe2" * 17_000), ("stdout", b"\x82\xac\n")], "json-file", 0)
def test_any_bytes_come_out_as_they_went_in(chunks: list[tuple[str, bytes]], driver: str, most: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        writer = LogWriter(str(path), LogWish(driver, most, files=100_000))
        for stream, data in chunks:
            writer.write(stream, data)
        writer.close()
        for stream in ("stdout", "stderr"):
            assert said(path, stream) == b"".join(data for name, data in chunks if name == stream)
        times = [entry[1] for entry in entries(path)]
        assert times == sorted(times)


def test_the_lines_are_dockers(tmp_path: Path) -> None:
    write(tmp_path / "log", 'one "two" \\ ü\t\x1b\n'.encode(), b"part", attributes='{"tag":"web"}')
    whole, part = (json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines())
    assert list(whole) == ["log", "stream", "attrs", "time"]
    assert (whole["log"], whole["stream"], whole["attrs"]) == ('one "two" \\ ü\t\x1b\n', "stdout", {"tag": "web"})
    assert part["log"] == "part"
    assert entries(tmp_path / "log")[0][3] == {"tag": "web"}


def test_what_docker_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"log":"hi\\u003c\\n","stream":"stderr","time":"2026-01-31T12:00:00.5Z"}\n')
    assert entries(tmp_path / "log") == [("stderr", 1769860800_500000000, b"hi<\n", {})]


def test_a_byte_that_is_no_text_stands_as_a_surrogate(tmp_path: Path) -> None:
    write(tmp_path / "log", b"a\xffb\n")
    assert rb'"log":"a\udcffb\n"' in (tmp_path / "log").read_bytes()


def test_a_long_line_is_cut_between_characters(tmp_path: Path) -> None:
    write(tmp_path / "log", b"x" + "€".encode() * 6000, b"\n")
    assert b"\\udc" not in (tmp_path / "log").read_bytes()
    assert said(tmp_path / "log") == b"x" + "€".encode() * 6000 + b"\n"


@BOTH
def test_a_log_has_an_upper_bound_and_keeps_the_newest_lines_whole(tmp_path: Path, driver: str) -> None:
    write(tmp_path / "log", *(b"line %d\n" % number for number in range(2000)), driver=driver, most=4096, files=4)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3"]
    assert all(file.stat().st_size <= 4096 for file in tmp_path.iterdir())
    kept = said(tmp_path / "log").splitlines(keepends=True)
    assert kept == [b"line %d\n" % number for number in range(2000 - len(kept), 2000)]
    assert len(kept) > 100


def test_one_file_alone_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "log", *(b"line %d\n" % number for number in range(100)), most=1000, files=1)
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert said(tmp_path / "log").endswith(b"line 99\n")


def test_much_at_once_goes_into_several_files(tmp_path: Path) -> None:
    text = b"".join(b"line %d\n" % number for number in range(1000))
    write(tmp_path / "log", text, most=5000, files=100)
    assert all(file.stat().st_size <= 5000 for file in tmp_path.iterdir())
    assert said(tmp_path / "log") == text


@BOTH
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 10, 999, 1000, 1001])
def test_the_last_lines_are_found_across_files(tmp_path: Path, driver: str, lines: int) -> None:
    text = [b"line %d\n" % number for number in range(1000)]
    write(tmp_path / "log", *text, driver=driver, most=3000, files=100)
    assert said(tmp_path / "log", tail=lines) == b"".join(text[len(text) - min(lines, 1000) :])


def test_the_parts_of_a_long_line_are_one_of_the_last_lines(tmp_path: Path) -> None:
    write(tmp_path / "log", b"first\n", b"x" * 300_000, b"y" * 300_000 + b"\n", b"last\n", b"no end")
    assert said(tmp_path / "log", tail=1) == b"no end"
    assert said(tmp_path / "log", tail=2) == b"last\nno end"
    assert said(tmp_path / "log", tail=3) == b"x" * 300_000 + b"y" * 300_000 + b"\nlast\nno end"


def test_lines_of_a_time(tmp_path: Path) -> None:
    for second in range(10):
        with (tmp_path / "log").open("a") as file:
            file.write(f"2026-01-31T12:00:0{second}.000000000Z stdout F {second}\n")
    noon = 1769860800_000000000
    assert said(tmp_path / "log", since=noon + 7_000000000) == b"7\n8\n9\n"
    assert said(tmp_path / "log", until=noon + 1_500000000) == b"0\n1\n"
    assert said(tmp_path / "log", since=noon + 5_000000000, until=noon + 8_000000000, tail=3) == b"7\n8\n"


DAMAGES = (
    b"{\n",
    b"[]\n",
    b"\xff\xfe \n",
    b"\0" * 5000 + b"\n",
    b'{"log":1,"stream":"stdout","time":"2026-01-31T12:00:00Z"}\n',
    b'{"log":"\\ud800","stream":"stdout","time":"2026-01-31T12:00:00Z"}\n',
    b'{"log":"x","stream":"stdout","time":"never"}\n',
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_line_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    write(tmp_path / "log", b"before\n")
    with (tmp_path / "log").open("ab") as file:
        file.write(damage)
    write(tmp_path / "log", b"after\n")
    assert said(tmp_path / "log") == b"before\nafter\n"
    assert said(tmp_path / "log", tail=2) == b"before\nafter\n"


@BOTH
def test_what_a_killed_writer_left_half_is_cut_off(tmp_path: Path, driver: str) -> None:
    write(tmp_path / "log", b"before\n", driver=driver)
    with (tmp_path / "log").open("ab") as file:
        file.write((tmp_path / "log").read_bytes()[:-5])
    write(tmp_path / "log", b"after\n", driver=driver)
    assert said(tmp_path / "log") == b"before\nafter\n"


def test_a_log_of_another_form_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "log", b"old\n", driver="k8s-file")
    write(tmp_path / "log", b"new\n", driver="json-file")
    assert said(tmp_path / "log") == b"old\nnew\n"


def _dying_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end, as far as its writer knows, at the n-th change of a name."""
    calls = count()

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def renamed(*args: str) -> None:
            if next(calls) == call:
                raise SystemExit
            real(*args)

        return renamed

    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))


@pytest.mark.parametrize("call", range(12))
def test_a_writer_killed_while_it_begins_a_file_loses_nothing(tmp_path: Path, call: int) -> None:
    path, done = tmp_path / "log", 0
    with pytest.MonkeyPatch.context() as patch:
        _dying_at(call, patch)
        writer = LogWriter(str(path), LogWish(most=300, files=5))
        try:
            for number in range(20):
                writer.write("stdout", b"line %d\n" % number)
                done = number + 1
        except SystemExit:
            pass
        os.close(writer._fd)
    write(path, *(b"line %d\n" % number for number in range(done, done + 2)), most=300, files=5)
    kept = said(path).splitlines(keepends=True)
    assert kept == [b"line %d\n" % number for number in range(done + 2 - len(kept), done + 2)]
    assert len(kept) >= min(done, 8)  # of five files, one may be empty


def test_a_full_disk_is_told_and_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written of a line is taken back; when there is room again, the log goes on with a line's beginning."""
    writer, real, room = LogWriter(str(tmp_path / "log")), os.write, [200]

    def limited(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", limited)
    writer.write("stdout", b"one\ntwo\nthree\nfour\n")
    assert said(tmp_path / "log") == b"one\ntwo\n"
    writer.write("stdout", b"x" * 50_000)  # the beginning of a line is lost, and so is the rest of it
    room[0] = 1 << 30
    writer.write("stdout", b"y\nfive\n")
    writer.close()
    assert said(tmp_path / "log") == b"one\ntwo\nfive\n"
    assert "No space left on device" in writer.error
    assert not writer._rest


# Following


def test_a_follower_goes_on_in_the_next_file(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path / "log"), LogWish(most=500, files=3))
    writer.write("stdout", b"line 0\n")
    follower = log_reading.read(str(tmp_path / "log"), Wanted(), lambda: True)
    seen = next(follower)
    for number in range(1, 200):
        writer.write("stdout", b"line %d\n" % number)
        seen += next(follower)
    writer.close()
    assert [entry[2] for entry in seen] == [b"line %d\n" % number for number in range(200)]
    follower.close()


def test_a_follower_that_was_left_behind_by_files_reads_them_all(tmp_path: Path) -> None:
    alive = [True]
    writer = LogWriter(str(tmp_path / "log"), LogWish(most=1000, files=50))
    writer.write("stdout", b"line 0\n")
    follower = log_reading.read(str(tmp_path / "log"), Wanted(tail=1), lambda: alive[0])
    seen = next(follower)
    for number in range(1, 300):
        writer.write("stdout", b"line %d\n" % number)
    writer.close()
    alive[0] = False
    seen += [entry for some in follower for entry in some]
    assert [entry[2] for entry in seen] == [b"line %d\n" % number for number in range(300)]


def test_a_file_that_gets_its_new_number_behind_a_listing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "log", *(b"line %d\n" % number for number in range(3)), most=1, files=3)
    (tmp_path / "log.2").rename(tmp_path / "log.3")  # a writer is about to begin the fourth
    listed = os.listdir(tmp_path)

    def listdir(_path: str) -> list[str]:
        (tmp_path / "log.1").rename(tmp_path / "log.2")
        return listed

    monkeypatch.setattr(turned_files.os, "listdir", listdir)
    assert said(tmp_path / "log") == b"line 0\nline 1\nline 2\n"


def test_followers_of_a_fast_writer_lose_nothing(tmp_path: Path) -> None:
    """The writer is another process, which turns files at any moment of the follower's."""
    script = (
        "import sys\n"
        "from cratebox.engine.logs import LogWish, LogWriter\n"
        "writer = LogWriter(sys.argv[1], LogWish(most=20_000, files=1000))\n"
        "for number in range(40_000):\n"
        "    writer.write('stdout', b'line %d\\n' % number)\n"
        "writer.close()\n"
    )
    (tmp_path / "log").touch()
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "log")]) as process:
        follower = log_reading.read(str(tmp_path / "log"), Wanted(), lambda: process.poll() is None)
        seen = [entry[2] for some in follower for entry in some]
    assert process.returncode == 0
    assert seen == [b"line %d\n" % number for number in range(40_000)]


def test_a_follower_ends_at_the_time_it_was_given(tmp_path: Path) -> None:
    write(tmp_path / "log", b"line\n")
    until = time.time_ns() + 50_000_000
    assert len(list(log_reading.read(str(tmp_path / "log"), Wanted(until=until), lambda: True))) == 1


@pytest.mark.parametrize("follow", [True, False])
def test_a_reader_holds_a_bounded_piece_of_a_log(tmp_path: Path, follow: bool) -> None:
    """In a process of its own, whose memory is counted from its start."""
    with (tmp_path / "log").open("wb") as file:
        for line in (b"x" * 1000, b"z" * 2_000_000):
            file.write((b"2026-01-31T12:00:00.000000000Z stdout F " + line + b"\n") * (50_000_000 // len(line)))
    script = (
        "import sys\n"
        "from cratebox.engine import log_reading\n"
        f"alive = (lambda: False) if {follow} else None\n"
        "pieces = log_reading.read(sys.argv[1], log_reading.Wanted(), alive)\n"
        "count = sum(len(some) for some in pieces)\n"
        "tail = sum(len(some) for some in log_reading.read(sys.argv[1], log_reading.Wanted(tail=10)))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(count, tail, peak.split()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "log")], capture_output=True, text=True, check=True)
    lines, last, kilobytes = map(int, done.stdout.split())
    assert (lines, last) == (50_025, 10)
    assert kilobytes < 45_000


@pytest.mark.parametrize("at", [0, 1, 1000, 6000, 11_998, 11_999])
def test_a_time_is_found_without_reading_what_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    writer = LogWriter(str(tmp_path / "log"), LogWish(most=400_000))
    clock = count(1_700_000_000_000_000_000, 1000)
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    for number in range(12_000):
        writer.write("stdout", b"line %d\n" % number)
    writer.close()
    monkeypatch.undo()
    every = entries(tmp_path / "log")
    read: list[bytes] = []
    lines = turned_files.Place.lines

    def counted(place: turned_files.Place) -> list[bytes]:
        found = lines(place)
        read.extend(found)
        return found

    monkeypatch.setattr(turned_files.Place, "lines", counted)
    since = every[at][1]
    found = entries(tmp_path / "log", since=since)
    assert found == every[at:]
    assert len(read) < len(found) + 2000


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert entries(tmp_path / "log") == []
    assert entries(tmp_path / "nowhere" / "log", tail=5) == []


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Whoever writes and reads logs leaves no descriptor open."""
    yield
    opened = [
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")
    ]
    assert not [path for path in opened if os.path.basename(path).startswith("log")]


def test_the_clock_never_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(str(tmp_path / "log"))
    monkeypatch.setattr(time, "time_ns", lambda: random.randrange(1 << 60))
    for _ in range(100):
        writer.write("stdout", b"x\n")
    writer.close()
    times = [entry[1] for entry in entries(tmp_path / "log")]
    assert times == sorted(times)
