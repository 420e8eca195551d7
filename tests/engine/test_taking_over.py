"""Who takes over goes on with memory that ran out, a longest time, a restart that was about to be, and a probe."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from datetime import datetime
from pathlib import Path

import pytest

from support.kin import EATS, GO, both, go, kill, kin

LIMITS = ("--memory", "32m", "--memory-swap", "32m")
WAIT = "while :; do sleep 0.05; done"


def state(box) -> dict[str, object]:  # type: ignore[no-untyped-def]
    return box.crate.json("inspect", "web")[0]["State"]  # type: ignore[no-any-return]


def eat(box) -> None:  # type: ignore[no-untyped-def]
    """Have a process of the container killed for want of memory; not its first one."""
    assert box.crate("exec", "web", "sh", "-c", EATS).returncode == 137


def test_memory_that_ran_out_is_not_forgotten(root_box, until) -> None:
    root_box.detached("--name", "web", *LIMITS, "@", "sh", "-c", WAIT)
    eat(root_box)
    until(lambda: state(root_box)["OOMKilled"])
    kill(root_box, "web", "crate-superviso", until)
    root_box.crate.ok("stop", "-t", "0", "web")
    assert state(root_box)["OOMKilled"] is True


def test_memory_that_ran_out_while_nobody_listened_is_told(root_box, until) -> None:
    root_box.detached("--name", "web", *LIMITS, "@", "sh", "-c", WAIT)
    pids = both(root_box, "web", until)
    os.kill(pids["crate-guardian"], signal.SIGSTOP)
    os.kill(pids["crate-superviso"], signal.SIGKILL)
    eat(root_box)
    os.kill(pids["crate-guardian"], signal.SIGCONT)
    until(lambda: state(root_box)["OOMKilled"])
    told = root_box.crate.ok("events", "--since", "24h", "--until", "0s", "--filter", "event=oom").splitlines()
    assert len(told) == 1
    root_box.crate.ok("rm", "-f", "web")


@pytest.mark.parametrize("asleep", [False, True])
def test_a_limit_that_update_sets_is_listened_to(root_box, until, asleep: bool) -> None:
    from test_sleeping import sleeps

    root_box.detached("--name", "web", "@", "sh", "-c", WAIT)
    until(lambda: len(kin(root_box, "web")) == 2)
    if asleep:
        until(lambda: sleeps(root_box, "web"))
    root_box.crate.ok("update", *LIMITS, "web")
    eat(root_box)
    until(lambda: state(root_box)["OOMKilled"])
    root_box.crate.ok("rm", "-f", "web")


def test_the_longest_time_counts_on(box, until) -> None:
    box.detached("--name", "web", "--timeout", "12", "@", "sh", "-c", "sleep 7; echo now; sleep 1000")
    until(lambda: box.crate.ok("logs", "web") == "now")
    kill(box, "web", "crate-superviso", until)
    until(lambda: state(box)["Status"] == "exited", 60)
    begun, ended = (datetime.fromisoformat(str(state(box)[name]).rstrip("Z")[:26]) for name in ("StartedAt", "FinishedAt"))
    took = (ended - begun).total_seconds()
    assert 11.5 < took < 18.5, "it began anew: 7 + 12 seconds"
    assert state(box)["ExitCode"] == 137


_KILLED_WHILE_IT_STARTS_AGAIN = """
    import os, sys
    import cratebox
    from cratebox.engine import watching
    from cratebox.engine.running import Run

    create = Run._create

    def killed(self, *how):
        told = watching.read(self.watch.state_directory)
        if told and told.restart_count == 1:
            os.kill(os.getpid(), 9)
        return create(self, *how)

    Run._create = killed
    command = ("sh", "-c", "echo run; exit 3")  # before its supervisor can sleep, and wake as what is not changed here
    config = cratebox.ContainerConfig(image=sys.argv[1], command=command, name="web", restart="on-failure:3")
    cratebox.Engine().containers.run(config, detach=True)
"""


def test_a_restart_that_was_about_to_be_is_tried_again(box, until) -> None:
    """Its supervisor is killed when nothing tells any more how the run before ended, and nothing yet of the next one."""
    script = textwrap.dedent(_KILLED_WHILE_IT_STARTS_AGAIN)
    argv = [sys.executable, "-c", script, box.image]
    done = box.crate.person.run(argv, env=box.crate.environment, timeout=60)
    assert done.returncode == 0, done.stderr
    until(lambda: box.crate.json("inspect", "web")[0]["RestartCount"] == 3 and state(box)["Status"] == "exited", 60)
    # One of the three did not come to run.
    assert box.crate.ok("logs", "web").split() == ["run"] * 3
    assert state(box)["ExitCode"] == 3


PROBE = ("--health-interval", "100ms", "--health-timeout", "600s")


def probes(box) -> list[int]:  # type: ignore[no-untyped-def]
    """The processes of health commands, which are children of the supervisor or the guardian."""
    found = []
    for parent in kin(box, "web").values():
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            found += [int(one) for one in children if Path(f"/proc/{one}/comm").read_text() == "crate-health\n"]
        except OSError:
            continue
    return found


def test_a_probe_whose_supervisor_divides_harms_nobody(box, until) -> None:
    command = "until test -e /go; do sleep 0.05; done"
    box.detached("--name", "web", "--health-cmd", command, *PROBE, "@", "sh", "-c", GO + "exit 4")
    until(lambda: probes(box))
    kill(box, "web", "crate-guardian", until)
    box.crate.ok("exec", "web", "touch", "/go")
    until(lambda: state(box)["Health"]["Status"] == "healthy")  # type: ignore[index]
    assert state(box)["Status"] == "running"
    go(box, "web")
    until(lambda: state(box)["Status"] == "exited")
    assert state(box)["ExitCode"] == 4


def test_a_container_that_ends_with_a_probe_of_a_divided_supervisor_tells_its_code(box, until) -> None:
    box.detached("--name", "web", "--health-cmd", "sleep 1000", *PROBE, "@", "sh", "-c", GO + "exit 4")
    until(lambda: probes(box))
    kill(box, "web", "crate-guardian", until)
    go(box, "web")
    until(lambda: state(box)["Status"] == "exited")
    assert (state(box)["ExitCode"], state(box)["Error"]) == (4, "")


def test_a_probe_that_a_killed_supervisor_has_left_is_ended(box, until) -> None:
    box.detached("--name", "web", "--health-cmd", "sleep 1000", *PROBE, "@", "sh", "-c", WAIT)
    (before,) = until(lambda: probes(box))
    kill(box, "web", "crate-superviso", until)
    until(lambda: (now := probes(box)) and before not in now)
    assert len(probes(box)) == 1
    box.crate.ok("rm", "-f", "web")
