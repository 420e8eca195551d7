"""How an attached client, a log and a full disk end."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

import pytest

from cratebox import record_file
from cratebox.engine import exits

PATIENCE = 60


def to(file: IO[bytes]) -> dict[str, object]:
    """How a command is run whose standard output goes into that file."""
    return {"stdout": file, "stderr": subprocess.PIPE, "capture_output": False}


def test_a_reader_that_goes_away_ends_the_client_and_what_only_it_would_have_read(box, until) -> None:
    with box.start("--name", "endless", "@", "yes", stdout=subprocess.PIPE) as process:
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
    until(lambda: box.crate("inspect", "endless").returncode == 1)


def test_a_reader_that_goes_away_at_once_ends_it_as_well(box, until) -> None:
    """So early that its guardian has not become small yet, and is watched by nobody."""
    for _ in range(8):
        with box.start("--name", "endless", "@", "yes", stdout=subprocess.PIPE) as process:
            process.stdout.close()
            assert process.wait(PATIENCE) == 141
        until(lambda: box.crate("inspect", "endless").returncode == 1)


@pytest.mark.parametrize("flags", [(), ("-t",)])
def test_output_that_cannot_be_written_is_told_when_all_is_over(box, flags: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = box(*flags, "@", "sh", "-c", "echo hi; sleep 0.2; echo more; exit 3", **to(full))
    assert done.returncode == 125
    assert "cannot write to standard output: No space left on device\n  hint: what was running ended with 3" in done.stderr


def test_the_other_stream_and_the_log_are_whole_where_one_cannot_be_written(box) -> None:
    script = "echo hi; echo other >&2; sleep 0.2; echo end"
    with open("/dev/full", "wb") as full:
        done = box.crate("run", "--name", "web", box.image, "sh", "-c", script, **to(full))
    assert done.stderr.startswith("other\ncrate run: cannot write to standard output")
    assert sorted(box.crate.ok("logs", "web").split()) == ["end", "hi"]


def test_output_of_exec_that_cannot_be_written_is_told(box) -> None:
    box.detached("--name", "web", "@", "sleep", "100")
    for words in (("echo", "hi"), ("yes",)):
        with open("/dev/full", "wb") as full:
            done = box.crate("exec", "web", *words, **to(full))
        assert done.returncode == 125
        assert "crate exec: cannot write to standard output: No space left on device" in done.stderr


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
