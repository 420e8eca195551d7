"""`crate top`: the processes of a container, told by the machine."""

from __future__ import annotations

import pytest

FAKE = """#!/bin/sh
touch /tmp/ran
echo USER PID COMMAND
"""


@pytest.fixture
def web(box) -> str:
    return box.detached("--name", "web", "@", "sh", "-c", "sleep 1234 & exec sleep 1000")


def rows(text: str) -> list[list[str]]:
    return [line.split(None, 7) for line in text.splitlines()]


def test_it_lists_the_containers_processes_and_no_others(box, web, until) -> None:
    until(lambda: len(box.crate.ok("top", "web").splitlines()) == 3)
    head, *found = rows(box.crate.ok("top", "web"))
    assert head == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert [row[7].strip() for row in found] == ["sleep 1000", "sleep 1234"]
    assert {row[0] for row in found} == {box.crate.person.name}
    assert found[1][2] == found[0][1]


def test_options_are_those_of_the_machines_ps(box, web, until) -> None:
    until(lambda: len(box.crate.ok("top", "web", "-o", "pid,args").splitlines()) == 3)
    head, *found = box.crate.ok("top", "web", "-eo", "pid,args").splitlines()
    assert head.split() == ["PID", "COMMAND"]
    assert [line.split(None, 1)[1] for line in found] == ["sleep 1000", "sleep 1234"]


def test_a_column_that_a_process_fills_cannot_stand_before_the_pid(box, web) -> None:
    assert "put pid first" in box.crate.fails("top", "web", "-eo", "args,pid")
    assert "no column PID" in box.crate.fails("top", "web", "-eo", "args")


def test_a_ps_of_the_image_never_runs(box) -> None:
    box.detached("--name", "web", "@", "sh", "-c", f"echo '{FAKE}' > /bin/ps; chmod 755 /bin/ps; exec sleep 1000")
    box.crate.ok("top", "web")
    box.crate.ok("top", "web", "-ef")
    assert box.crate("exec", "web", "ls", "/tmp/ran").returncode == 1


def test_control_bytes_of_a_process_are_inert(box) -> None:
    box.detached("--name", "web", "@", "sh", "-c", "exec sh -c 'sleep 1000; true' \"$(printf '\\033]0;x\\007\\n1 fake')\"")
    said = box.crate.ok("top", "web")
    assert "\x1b" not in said
    assert len(said.splitlines()) <= 3


def test_a_container_that_does_not_run_has_none(box) -> None:
    box.create("--name", "web", "@", "true")
    assert "web is created, not running" in box.crate.fails("top", "web")
