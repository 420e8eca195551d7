"""A unit that `crate generate systemd` printed, under a real systemd: it starts, restarts and stops its container."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.commands import Crate
from support.systemd import systemctl, units

SCRIPT = "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
SECONDS = 60


class Unit:
    """The unit of a container, and what systemd and crate say of both."""

    def __init__(self, crate: Crate, name: str) -> None:
        self.crate, self.name, self.service = crate, name, f"{name}.service"

    def do(self, verb: str) -> None:
        done = systemctl(verb, self.service)
        assert done.returncode == 0, f"{verb}: {done.stderr}\n{systemctl('status', '--lines=50', self.service).stdout}"

    @property
    def state(self) -> str:
        return systemctl("show", "--value", "--property=ActiveState", self.service).stdout.strip()

    @property
    def container(self) -> tuple[str, int, int]:
        """Its state, the pid of its first process, its exit code."""
        form = "{{.State.Status}} {{.State.Pid}} {{.State.ExitCode}}"
        status, pid, code = self.crate.ok("inspect", "--format", form, self.name).split()
        return status, int(pid), int(code)

    def runs_as(self, times: int) -> int:
        """Wait until its program has begun so many times, and listens for signals; return its pid."""
        wait(lambda: self.crate.ok("logs", self.name).split().count("ready") == times)
        wait(lambda: self.container[0] == "running")
        return self.container[1]


def wait(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


@pytest.fixture
def unit(crate: Crate, busybox_image: object, word: str) -> Iterator[Unit]:
    """The unit of a container that can be told to end, known to systemd; not started."""
    crate.ok("pull", "--quiet", str(busybox_image))
    crate.ok("create", "--name", word, "--network", "none", str(busybox_image), "sh", "-c", SCRIPT)
    made = Unit(crate, word)
    file = units() / made.service
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(crate.ok("generate", "systemd", "--name", word) + "\n")
    systemctl("daemon-reload")
    yield made
    systemctl("stop", made.service)
    file.unlink()
    systemctl("daemon-reload")
    systemctl("reset-failed", made.service)


def test_a_unit_is_started_restarted_and_stopped(unit: Unit) -> None:
    unit.do("start")
    unit.runs_as(1)
    unit.do("restart")
    unit.runs_as(2)
    unit.crate.ok("kill", unit.name)  # which systemd takes for a failure
    third = unit.runs_as(3)
    wait(lambda: unit.state == "active")
    unit.do("stop")
    assert (unit.state, unit.container) == ("inactive", ("exited", 0, 0))
    assert not Path(f"/proc/{third}").exists()
    assert unit.crate.ok("logs", unit.name).split() == ["ready", "told", "ready", "ready", "told"]


def test_a_unit_whose_command_line_alone_is_killed_leaves_no_container_behind(unit: Unit) -> None:
    unit.do("start")
    first = unit.runs_as(1)
    systemctl("kill", "--kill-whom=main", "--signal=KILL", unit.service)
    second = unit.runs_as(2)
    assert not Path(f"/proc/{first}").exists()
    unit.do("stop")
    assert (unit.state, unit.container[0]) == ("inactive", "exited")
    assert not Path(f"/proc/{second}").exists()
