"""`crate logs` of real containers: drivers, options, times, followers, full disks."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

PATIENCE = 60
BLOB = random.Random(2).randbytes(300_000)


def wait_for_end(box, until, name: str) -> None:
    until(lambda: box.status(name) == "exited", PATIENCE)


def files(box, name: str) -> list[Path]:
    path = Path(box.crate.json("inspect", name)[0]["LogPath"])
    return sorted(path.parent.glob("log*"))


def test_the_file_is_dockers(box, until) -> None:
    name = box.detached("@", "sh", "-c", "echo out; echo err >&2; printf part")
    wait_for_end(box, until, name)
    lines = [json.loads(line) for line in files(box, name)[0].read_text().splitlines()]
    assert sorted((line["stream"], line["log"]) for line in lines) == [
        ("stderr", "err\n"),
        ("stdout", "out\n"),
        ("stdout", "part"),
    ]
    document = box.crate.json("inspect", name)[0]
    assert document["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}
    box.crate.ok("rm", name)


@pytest.mark.parametrize("driver", ["json-file", "k8s-file"])
def test_any_bytes_come_out_of_any_driver_and_any_number_of_files(root_box, driver: str) -> None:
    options = ("--log-driver", driver, "--log-opt", "max-size=100k", "--log-opt", "max-file=30")
    root_box.crate(
        "run", "--name", "web", "-i", *options, root_box.image, "cat", stdin=None, input=BLOB, text=False, errors=None
    )
    assert root_box.crate("logs", "web", text=False, errors=None).stdout == BLOB
    assert len(files(root_box, "web")) > 3
    root_box.crate.ok("rm", "web")


def test_a_log_is_bounded_and_its_newest_lines_stay(box, until) -> None:
    name = box.detached("--log-opt", "max-size=20k", "--log-opt", "max-file=2", "@", "seq", "50000")
    wait_for_end(box, until, name)
    assert sum(file.stat().st_size for file in files(box, name)) <= 40960
    kept = [int(line) for line in box.crate.ok("logs", name).splitlines()]
    assert kept == list(range(50_001 - len(kept), 50_001))
    assert box.crate.ok("logs", "--tail", "2", name) == "49999\n50000"
    box.crate.ok("rm", name)


def test_without_a_log_there_is_nothing_to_show(box, until) -> None:
    box.crate.ok("run", "--name", "web", "--log-driver", "none", box.image, "echo", "said")
    assert "web keeps no log" in box.crate.fails("logs", "web")
    assert box.crate.json("inspect", "web")[0]["LogPath"] == ""
    box.crate.ok("rm", "web")


def test_details_are_what_was_asked_for(root_box) -> None:
    options = ("--log-opt", "labels=tier,none", "--log-opt", "env=COLOUR", "--log-opt", "tag={{.Name}}")
    root_box.crate.ok(
        "run", "--name", "web", "--label", "tier=front", "-e", "COLOUR=red", *options, root_box.image, "echo", "said"
    )
    assert root_box.crate.ok("logs", "--details", "web") == "COLOUR=red,tag=web,tier=front said"
    root_box.crate.ok("rm", "web")


def test_a_follower_reads_on_through_many_files_until_the_end(box) -> None:
    script = "for i in 1 2 3 4 5; do seq 2000; sleep 0.2; done"
    name = box.detached("--log-opt", "max-size=50k", "--log-opt", "max-file=50", "@", "sh", "-c", script)
    with box.crate.start("logs", "-f", name, stdout=subprocess.PIPE) as follower:
        assert follower.stdout.read() == b"".join(b"%d\n" % number for number in range(1, 2001)) * 5
        assert follower.wait(PATIENCE) == 0
    box.crate.ok("rm", name)


def test_a_follower_of_a_container_that_is_removed_at_its_end_reads_all(root_box) -> None:
    name = root_box.detached("--rm", "@", "sh", "-c", "sleep 5; seq 1000")
    with root_box.crate.start("logs", "-f", name, stdout=subprocess.PIPE) as follower:
        assert follower.stdout.read() == b"".join(b"%d\n" % number for number in range(1, 1001))
        assert follower.wait(PATIENCE) == 0


def test_the_output_of_a_terminal_is_one_stream(root_box, until) -> None:
    name = root_box.detached("-t", "@", "sh", "-c", "echo out; echo err >&2")
    wait_for_end(root_box, until, name)
    done = root_box.crate("logs", name)
    assert (done.stdout, done.stderr) == ("out\nerr\n", "")
    root_box.crate.ok("rm", name)


def test_times_choose_lines(root_box, until) -> None:
    name = root_box.detached("@", "sh", "-c", "echo first; sleep 1.2; echo second")
    wait_for_end(root_box, until, name)
    stamp = root_box.crate.ok("logs", "-t", "--tail", "1", name).split()[0]
    assert root_box.crate.ok("logs", "--since", stamp, name) == "second"
    assert root_box.crate.ok("logs", "--until", "0s", name) == "first\nsecond"
    assert root_box.crate.ok("logs", "--since", "1h", "--tail", "1", name) == "second"
    assert root_box.crate.ok("logs", "--until", "2020-01-01", name) == ""
    assert root_box.crate.ok("logs", "--since", "2020-01-01T00:00:00Z", name) == "first\nsecond"
    root_box.crate.ok("rm", name)


def test_a_log_that_was_written_before_there_were_drivers_is_read(root_box, until) -> None:
    name = root_box.create("@", "echo", "new")
    path = Path(root_box.crate.json("inspect", name)[0]["LogPath"])
    path.write_bytes(b"2026-01-31T12:00:00.000000000Z stdout F old\n")
    root_box.crate.ok("start", "-a", name)
    assert root_box.crate.ok("logs", name) == "old\nnew"
    root_box.crate.ok("rm", name)


def test_a_full_disk_ends_no_container_and_is_told(rootful, busybox_image, small_store, until) -> None:
    """The container fills the disk that its log is on, goes on writing, and makes room again."""
    crate = rootful.within((), CRATE_ROOT=str(small_store))
    crate.ok("pull", "--quiet", str(busybox_image))
    image = crate.ok("images", "-q")
    script = (
        "mkdir -p /tmp; echo first; head -c 200000000 /dev/zero > /x; seq 100000; "
        "touch /tmp/full; while test -e /tmp/full; do sleep 0.1; done; rm /x; echo last; exit 7"
    )
    crate.ok("run", "-d", "--name", "web", image, "sh", "-c", script)
    until(lambda: "No space left" in crate.json("inspect", "web")[0]["State"]["Error"], PATIENCE)
    until(lambda: crate("exec", "web", "test", "-e", "/tmp/full").returncode == 0, PATIENCE)
    crate.ok("exec", "web", "rm", "/tmp/full")
    assert crate.ok("wait", "web") == "7"
    lines = crate.ok("logs", "web").splitlines()
    assert (lines[0], lines[-1]) == ("first", "last")
    assert all(line.isdigit() for line in lines[1:-1])
    told = crate.json("inspect", "web")[0]["State"]["Error"]
    assert told.startswith("the log lacks ")
    assert told.endswith(" bytes of output: No space left on device")
    crate.ok("rm", "web")


@pytest.mark.parametrize(("words", "said"), [
    (("--log-driver", "journald"), "no log driver journald"), (("--log-driver", "x"), "no log driver x"),
    (("--log-opt", "max-size"), "not an option of a log"), (("--log-opt", "max-size=0"), "at least a byte"),
    (("--log-opt", "max-size=much"), "is a size"), (("--log-opt", "max-file=0"), "max-file"),
    (("--log-opt", "mode=non-blocking"), "it loses lines"), (("--log-opt", "colour=red"), "unknown log opt colour"),
    (("--log-driver", "none", "--log-opt", "max-size=1m"), "unknown log opt max-size for the log driver none"),
    (("--log-opt", "tag={{.Nonsense}}"), "not all of it is there"), (("--log-opt", "compress=true"), "not there"),
    (("--log-opt", "labels-regex=.*"), "not there"),
])  # fmt: skip
def test_what_is_not_there_is_refused(root_box, words: tuple[str, ...], said: str) -> None:
    assert said in root_box.crate.fails("create", *words, root_box.image, "true")
    assert root_box.crate.ok("ps", "-aq") == ""


def test_several_logs_are_one_in_the_order_of_time(box) -> None:
    long = "x" * 40000
    first = box.create("--name", "web", "@", "sh", "-c", "echo first")
    second = box.create("--name", "db", "@", "sh", "-c", f"echo {long}; printf unended")
    for name in ("web", "db", "web"):
        box.crate.ok("start", "-a", name)
    lines = box.crate.ok("logs", "web", "db").splitlines()
    a, b = first[:12], second[:12]
    assert lines == [f"{a} first", f"{b} {long}", f"{b} unended", f"{a} first"]
    assert box.crate.ok("logs", "--names", "-n", "1", "web", "db").splitlines() == ["db unended", "web first"]
    assert "no container nobody" in box.crate.fails("logs", "web", "nobody")


def test_several_logs_are_followed_at_once(box) -> None:
    script = "trap exit TERM; echo ready; while :; do sleep 0.05; done"
    for name in ("web", "db"):
        box.detached("--name", name, "@", "sh", "-c", script)
    with box.crate.start("logs", "-f", "--names", "web", "db", stdout=subprocess.PIPE) as process:
        seen = {process.stdout.readline() for _ in range(2)}
        box.crate.ok("stop", "web", "db")
        assert process.communicate(timeout=60)[0] == b""
        assert process.returncode == 0
    assert seen == {b"web ready\n", b"db ready\n"}
