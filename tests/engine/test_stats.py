"""`crate stats`: what real containers use, as far as their cgroups count it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time

from cratebox.engine import stats
from cratebox.engine.stats import Usage

PATIENCE = 30
FIELDS = ["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"]
HEADERS = [
    "CONTAINER",
    "ID",
    "NAME",
    "CPU",
    "%",
    "MEM",
    "USAGE",
    "/",
    "LIMIT",
    "MEM",
    "%",
    "NET",
    "I/O",
    "BLOCK",
    "I/O",
    "PIDS",
]


def used(crate, *words: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in crate.ok("stats", "--no-stream", "--format", "json", *words).splitlines()]


def test_a_running_container_is_counted_or_said_not_to_be(box) -> None:
    name = box.detached("--name", "web", "--network", "none", "@", "sleep", "100")
    done = box.crate("stats", "--no-stream", "--format", "json")
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(row) == FIELDS
    assert (row["Name"], row["ID"], row["Container"]) == ("web", name[:12], name[:12])
    if row["PIDs"] == "--":
        assert row["MemUsage"] == "-- / --"
        assert "web: cannot count what is used by this container: it has no cgroup of its own" in done.stderr
        assert "hint:" in done.stderr
    else:
        assert (row["PIDs"], row["NetIO"]) == ("1", "0B / 0B")
        assert row["MemUsage"].split(" / ")[0].endswith("iB")
        assert done.stderr == ""
    box.crate.ok("rm", "-f", "web")


def test_who_works_is_seen_to(root_box) -> None:
    root_box.detached("--name", "web", "@", "sh", "-c", "while :; do :; done")
    root_box.detached("--name", "idle", "@", "sleep", "100")
    found = {row["Name"]: row for row in used(root_box.crate)}
    assert float(found["web"]["CPUPerc"].rstrip("%")) > float(found["idle"]["CPUPerc"].rstrip("%"))
    root_box.crate.ok("rm", "-f", "web", "idle")


def test_memory_is_that_of_processes_and_not_of_files_once_read(root_box, until) -> None:
    script = "head -c 50000000 /dev/zero > /file; sync; cat /file > /dev/null; echo ready; sleep 100"
    name = root_box.detached("@", "sh", "-c", script)
    until(lambda: "ready" in root_box.crate.ok("logs", name), 60)
    amount = used(root_box.crate, name)[0]["MemUsage"].split(" / ")[0]
    assert amount.endswith("KiB") or float(amount.removesuffix("MiB")) < 40
    root_box.crate.ok("rm", "-f", name)


def test_a_limit_of_memory_is_shown(root_box) -> None:
    name = root_box.detached("--memory", "64m", "@", "sleep", "100")
    assert used(root_box.crate, name)[0]["MemUsage"].endswith(" / 64MiB")
    root_box.crate.ok("rm", "-f", name)


def test_one_that_does_not_run_uses_nothing(root_box) -> None:
    root_box.create("--name", "web", "@", "true")
    assert used(root_box.crate) == []
    (row,) = used(root_box.crate, "-a")
    assert (row["CPUPerc"], row["MemUsage"], row["PIDs"]) == ("0.00%", "0B / 0B", "0")
    assert used(root_box.crate, "web")[0]["Container"] == "web"
    root_box.crate.ok("rm", "web")


def test_the_table_has_dockers_headers(root_box) -> None:
    assert root_box.crate.ok("stats", "--no-stream").split() == HEADERS


def test_a_paused_container_is_counted_as_well(root_box) -> None:
    name = root_box.detached("@", "sleep", "100")
    root_box.crate.ok("pause", name)
    assert used(root_box.crate, name)[0]["PIDs"] == "1"
    root_box.crate.ok("unpause", name)
    root_box.crate.ok("rm", "-f", name)


def test_on_a_terminal_the_table_is_drawn_again_until_interrupted(root_box) -> None:
    name = root_box.detached("--name", "web", "@", "sleep", "100")
    master, slave = pty.openpty()
    process = root_box.crate.start("stats", stdout=slave, stdin=subprocess.DEVNULL)
    os.close(slave)
    try:
        seen, deadline = b"", time.monotonic() + PATIENCE
        while seen.count(b"\x1b[H") < 3 and time.monotonic() < deadline:
            seen += os.read(master, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert seen.count(b"CONTAINER ID") >= 3
    root_box.crate.ok("rm", "-f", name)


def test_it_ends_with_the_last_of_those_that_were_named(root_box) -> None:
    name = root_box.detached("@", "sleep", "100")
    with root_box.crate.start("stats", "--format", "{{.PIDs}}", name, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        root_box.crate.ok("rm", "-f", name)
        assert process.wait(PATIENCE) == 0


def test_an_unknown_container_is_told(root_box) -> None:
    assert "no container nobody" in root_box.crate.fails("stats", "--no-stream", "nobody")


def test_a_share_is_that_of_the_time_between_two_looks() -> None:
    before = Usage("a", "web", taken=1_000_000_000, cpu_time=5_000_000_000)
    after = stats._since(before, Usage("a", "web", taken=3_000_000_000, cpu_time=6_000_000_000))
    assert after.cpu == 50.0
    assert stats._since(None, after.replace(cpu=None)).cpu is None
