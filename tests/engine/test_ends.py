"""How an attached client, a log and a full disk end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cratebox.engine import exits, logs, record_file

PATIENCE = 60


def test_a_reader_that_goes_away_ends_the_client_and_what_only_it_would_have_read(box, until) -> None:
    with box.start("--name", "endless", "@", "yes", stdout=subprocess.PIPE) as process:
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
    until(lambda: box.crate("inspect", "endless").returncode == 1)


def test_a_container_that_stays_goes_on_writing_to_its_log_when_its_reader_has_gone(box, until) -> None:
    argv = ("run", "--name", "stays", box.image, "sh", "-c", "while :; do echo x; sleep 0.05; done")
    with box.crate.start(*argv, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(2) == b"x\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
    said = len(box.crate.ok("logs", "stays"))
    until(lambda: len(box.crate.ok("logs", "stays")) > said)
    box.crate.ok("rm", "-f", "stays")


def test_a_container_that_fills_the_disk_ends_with_its_own_code(rootful, busybox_image, small_store) -> None:
    crate = rootful.within((), CRATE_ROOT=str(small_store))
    crate.ok("pull", "--quiet", str(busybox_image))
    image = crate.ok("images", "-q")
    script = "head -c 200000000 /dev/zero > /x; exit 7"
    assert crate("run", "--name", "full", image, "sh", "-c", script).returncode == 7
    assert crate.json("inspect", "full")[0]["State"]["ExitCode"] == 7
    crate.ok("rm", "full")


def test_a_program_that_cannot_be_started_again_leaves_a_container_that_has_run(box) -> None:
    name = box.create("@", "true")
    box.crate.ok("start", "-a", name)
    box.crate.fails("start", name, "nosuch", code=127)
    state = box.crate.json("inspect", name)[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 127)


def test_a_working_directory_that_was_deleted_is_in_nobodys_way(box) -> None:
    script = 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"'
    gone = str(box.crate.root / "gone")
    argv = box.crate.argv("run", "--rm", box.image, "echo", "x")
    done = box.crate.person.run(["sh", "-c", script, gone, *argv], env=box.crate.environment)
    assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr


def test_a_capability_that_root_itself_lacks_is_refused(root_box) -> None:
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm"))
    if int(own.split()[1], 16) >> 24 & 1:
        pytest.skip("root has CAP_SYS_RESOURCE here")
    assert "crate does not have it itself" in root_box.fails("--cap-add", "SYS_RESOURCE", "@", "true")


def test_an_error_however_long_fits_into_the_room_that_was_kept(tmp_path: Path) -> None:
    exits.begin(str(tmp_path))
    exits.write(str(tmp_path), exits.Exit(1, 2.0, 3.0, "\U0001f600" * 5000))
    assert (tmp_path / "exit.json").stat().st_size == 4096
    found = record_file.read(str(tmp_path / "exit.json"), exits.Exit)
    assert found is not None
    assert (found.code, found.started_at, set(found.error)) == (1, 2.0, {"\U0001f600"})


# The log


def entries(path: Path, tail: int | None = None) -> list[bytes]:
    return [data for _stream, _when, data in logs.read(str(path), tail)]


def test_a_log_has_an_upper_bound_and_keeps_the_newest_lines_whole(tmp_path: Path) -> None:
    writer = logs.LogWriter(str(tmp_path / "log"), most=4096)
    for number in range(1000):
        writer.write("stdout", b"line %d\n" % number)
    writer.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2 * 4096
    kept = entries(tmp_path / "log")
    first = int(kept[0].split()[1])
    assert kept == [b"line %d\n" % number for number in range(first, 1000)]
    assert len(kept) > 50
    assert entries(tmp_path / "log", 2) == [b"line 998\n", b"line 999\n"]


def test_a_follower_goes_on_in_the_next_file(tmp_path: Path) -> None:
    writer = logs.LogWriter(str(tmp_path / "log"), most=2048)
    writer.write("stdout", b"line 0\n")
    follower = logs.follow(str(tmp_path / "log"), lambda: True)
    seen = [next(follower)[2]]
    for number in range(1, 200):
        writer.write("stdout", b"line %d\n" % number)
        seen.append(next(follower)[2])
    writer.close()
    assert seen == [b"line %d\n" % number for number in range(200)]
    assert (tmp_path / "log.1").exists()


def test_a_follower_holds_a_bounded_piece_of_a_log(tmp_path: Path) -> None:
    """In a process of its own, whose memory is counted from its start."""
    line = b"2026-01-31T12:00:00.000000000Z stdout F " + b"x" * 1000 + b"\n"
    (tmp_path / "log").write_bytes(line * 100_000)
    script = (
        "import sys\n"
        "from cratebox.engine import logs\n"
        "count = sum(1 for _ in logs.follow(sys.argv[1], lambda: False))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(count, peak.split()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "log")], capture_output=True, text=True, check=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 100_000
    assert kilobytes < 60_000


def test_an_old_log_is_read_before_the_new_one(tmp_path: Path) -> None:
    for name, number in (("log.1", 1), ("log", 2)):
        (tmp_path / name).write_bytes(b"2026-01-31T12:00:00.000000000Z stdout F %d\n" % number)
    assert entries(tmp_path / "log") == [b"1\n", b"2\n"]
