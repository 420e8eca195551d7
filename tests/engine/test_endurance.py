"""Many runs, one after the other and at once, and a clock that jumps: nothing grows, nothing is lost.

CRATE_TEST_RUNS is the number of runs, 100 where nothing is said; 10,000 before a release.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import leaks

RUNS = int(os.environ.get("CRATE_TEST_RUNS", "100"))
AT_ONCE = 64

FLAT = """
    import gc, os, sys
    import cratebox

    engine = cratebox.Engine()
    config = cratebox.ContainerConfig(image=sys.argv[1], command=("true",), remove=True)

    def measure():
        gc.collect()
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE") >> 20

    for number in range(int(sys.argv[2])):
        assert engine.containers.run(config) == 0
        if number == 19:
            before = measure()
    after = measure()
    print(after[0] - before[0], after[1] - before[1])
"""


def machine(box) -> dict[str, int]:  # type: ignore[no-untyped-def]
    """Return what runs could leave behind, as counts."""
    crate = box.crate
    places = [crate.root / "containers", crate.root / "names", crate.state]
    return {
        "files": sum(len(files) + len(names) for place in places for _where, names, files in os.walk(place)),
        "mounts": sum(str(crate.directory) in line for line in Path("/proc/self/mountinfo").read_text().splitlines()),
    }


def test_runs_leave_descriptors_memory_files_and_mounts_as_they_were(box, word: str, until) -> None:
    """In one process, as a program has them that uses the library."""
    box.run("true")
    until(lambda: not [name for name in os.listdir(box.crate.root / "containers") if name.startswith(".removing")])
    before = machine(box)
    script = textwrap.dedent(FLAT)
    done = box.crate.person.run(
        [sys.executable, "-c", script, box.image, str(RUNS)], env=box.crate.environment, timeout=30 + RUNS * 5
    )
    assert done.returncode == 0, done.stderr
    descriptors, megabytes = map(int, done.stdout.split())
    assert descriptors == 0
    assert megabytes <= 2
    until(lambda: machine(box) == before)
    until(lambda: list(leaks.processes_with(word)) == [])


def test_many_runs_of_an_image_that_nobody_has_yet_bring_it_once(crate, busybox_image) -> None:
    """All at once: each succeeds, and its layers are unpacked once."""

    def run(number: int) -> str:
        return crate.ok("run", "--rm", "-q", str(busybox_image), "echo", str(number), timeout=280)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert list(pool.map(run, range(AT_ONCE))) == [str(number) for number in range(AT_ONCE)]
    layers = [path.name for path in (crate.root / "images/layers").iterdir() if not path.name.startswith(".")]
    assert len(layers) == len(busybox_image.image.layers)
    assert crate.ok("ps", "-aq") == ""


@pytest.mark.parametrize("hours", [-24 * 365, 24 * 365], ids=["back", "on"])
def test_a_clock_that_was_set_anew_changes_nothing_of_what_runs(box, hours: int) -> None:
    """What was written down of a start lies far away in time then; processes are known by ticks since the boot."""
    identity = box.detached("--name", "web", "@", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    path = box.crate.state / "containers" / identity / "state.json"
    state = json.loads(path.read_text())
    path.write_text(
        json.dumps(state | {"created": state["created"] - hours * 3600, "startedAt": state["startedAt"] - hours * 3600})
    )
    assert box.status("web") == "running"
    assert "Up" in box.crate.ok("ps", "--format", "{{.Status}}")
    assert box.crate.ok("exec", "web", "echo", "in") == "in"
    box.crate.ok("stop", "web")
    assert box.crate.ok("wait", "web") == "3"
    box.crate.ok("rm", "web")


def test_what_killed_commands_left_in_the_future_is_pruned(root_box) -> None:
    """The clock was set back behind them: they seem to have been made a moment ago, or later."""
    left = root_box.crate.root / "containers" / (".new-" + "0123456789abcdef" * 4)
    (root_box.crate.root / "containers").mkdir(exist_ok=True)
    left.mkdir()
    (left / "lock").touch()
    os.utime(left, (4e9, 4e9))
    root_box.crate.ok("system", "prune", "-f")
    assert not left.exists()
