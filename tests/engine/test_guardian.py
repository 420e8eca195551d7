"""A supervisor or its guardian is killed: neither the container nor its exit code, its output or --rm is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cratebox.engine import guardian_watch, lost
from cratebox.engine.loop import Loop
from support.kin import GO, NAMES, both, ends, exit_of, go, identity_of, kill, kin


@pytest.mark.parametrize("which", [NAMES[:1], NAMES[1:], NAMES[::-1], NAMES[:1] * 3])
def test_the_exit_code_survives(box, until, which: tuple[str, ...]) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "exit 42")
    for name in which:
        kill(box, "web", name, until)
        assert exit_of(box, "web")[0] == "running"
    go(box, "web")
    assert ends(box, "web", until) == 42
    box.crate.ok("start", "web")
    box.crate.ok("rm", "-f", "web")


def test_where_both_were_killed_in_turn_the_kernel_tells_the_exit_code_or_nobody_knows(box, until) -> None:
    """The process is a child of init then, and its code can be asked for since Linux 6.15, once init has reaped it."""
    box.detached("--name", "web", "@", "sh", "-c", GO + "exit 42")
    for name in NAMES:
        kill(box, "web", name, until)
    go(box, "web")
    assert ends(box, "web", until) in {42, 255}


def test_one_that_was_killed_before_its_supervisor_looks_is_replaced(monkeypatch) -> None:
    """What is above the supervisor by then is init."""
    asked: list[object] = []
    monkeypatch.setattr(guardian_watch.guardian, "is_one", lambda _pid: False)
    monkeypatch.setattr(guardian_watch.guardian, "divide", lambda ward, _custody: asked.append(ward) or -1)
    watch = guardian_watch.GuardianWatch(Loop(), None, lambda: "ward", asked.append)  # type: ignore[arg-type,return-value]
    assert asked == ["ward"]
    assert watch.fd == -1  # it could not be: the container does without


def test_the_signal_that_killed_it_survives(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", "exec sleep 1000")
    kill(box, "web", "crate-superviso", until)
    box.crate.ok("kill", "web")
    assert ends(box, "web", until) == 137


def test_a_container_that_ends_while_nobody_looks_tells_its_code(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "exit 9")
    supervisor, guardian = (both(box, "web", until)[name] for name in NAMES)
    os.kill(guardian, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    pid = box.crate.json("inspect", "web")[0]["State"]["Pid"]
    go(box, "web")
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    os.kill(guardian, signal.SIGCONT)
    assert ends(box, "web", until) == 9


def test_what_waits_for_it_hears_its_code(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "exit 5")
    waiting = box.crate.start("wait", "web", stdout=-1)
    kill(box, "web", "crate-superviso", until)
    go(box, "web")
    assert waiting.communicate(timeout=60)[0].strip() == b"5"


def test_the_log_goes_on(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", "echo before; " + GO + "echo after; echo error >&2")
    until(lambda: box.crate.ok("logs", "web") == "before")
    kill(box, "web", "crate-superviso", until)
    kill(box, "web", "crate-guardian", until)
    go(box, "web")
    ends(box, "web", until)
    assert box.crate("logs", "web").stdout.split() == ["before", "after"]
    assert box.crate("logs", "web").stderr.split() == ["error"]


# Whole lines and the beginning of one, more of them than its pipes hold, each time that it is told to go on.
COUNTS = (
    "trap g=1 USR1; n=0; while [ $n -lt 12 ]; do until [ $g ]; do sleep 0.05; done; g=; "
    "seq $((n*20000+1)) $((n*20000+20000)); printf $n.; seq $((n*5000+1)) $((n*5000+5000)) >&2; n=$((n+1)); done"
)


def _supervisor_after(before: int, now: dict[str, int]) -> int:
    found = now.get(NAMES[0], 0)
    return found if found != before else 0  # one that was killed is there a moment longer


def test_all_that_it_says_is_in_the_log_once(box, until) -> None:
    """A container counts as fast as it can; its supervisors are killed when they have begun to write that down."""
    web = box.detached("--log-opt", "max-size=100m", "@", "sh", "-c", COUNTS)
    log = box.crate.root / "containers" / web / "log"
    supervisor = 0
    for _ in range(11):
        supervisor = until(lambda before=supervisor: _supervisor_after(before, kin(box, web)))
        size = log.stat().st_size
        go(box, web)
        until(lambda before=size: log.stat().st_size > before)
        os.kill(supervisor, signal.SIGKILL)
    while exit_of(box, web)[0] == "running":
        box.crate("kill", "-s", "USR1", web)  # two of them may have come at once
    assert exit_of(box, web) == ("exited", 0)
    done = box.crate("logs", web)
    numbers = [f"{number}\n" for number in range(1, 240001)]
    assert done.stdout == "".join("".join(numbers[n * 20000 : (n + 1) * 20000]) + f"{n}." for n in range(12))
    assert done.stderr == "".join(numbers[:60000])


def test_a_terminal_goes_on(box, until) -> None:
    box.detached("-t", "--name", "web", "@", "sh", "-c", GO + "tty; test -t 1 && exit 3")
    kill(box, "web", "crate-superviso", until)
    go(box, "web")
    assert ends(box, "web", until) == 3
    assert box.crate.ok("logs", "web") == "/dev/pts/0"


def test_who_is_attached_notices_nothing(box, until) -> None:
    words = box.words("--name", "web", "@", "sh", "-c", "echo before; " + GO + "echo after; exit 6")
    client = box.crate.start("run", "--rm", *words, stdout=-1)
    until(lambda: box.crate("inspect", "web").returncode == 0 and len(kin(box, "web")) == 2)
    until(lambda: box.status("web") == "running")
    kill(box, "web", "crate-superviso", until)
    go(box, "web")
    assert client.communicate(timeout=60)[0] == b"before\nafter\n"
    assert client.returncode == 6


def test_rm_is_kept(box, until) -> None:
    box.detached("--rm", "--name", "web", "@", "sh", "-c", GO)
    where = box.crate.root / "containers" / identity_of(box, "web")
    kill(box, "web", "crate-superviso", until)
    go(box, "web")
    until(lambda: not where.exists() and not list(where.parent.glob(".removing-*")))
    assert box.crate.ok("ps", "-aq") == ""


def test_a_client_that_is_killed_leaves_rm_to_the_supervisor(box, until) -> None:
    client = box.start("--name", "web", "@", "sh", "-c", GO)
    until(lambda: box.crate("inspect", "web").returncode == 0 and box.status("web") == "running")
    client.kill()
    client.wait()
    assert box.status("web") == "running"
    go(box, "web")
    until(lambda: os.listdir(box.crate.root / "containers") == [])


def test_a_supervisor_that_is_killed_anywhere_leaves_what_it_says(box, until) -> None:
    """Killed a moment later each time: while it starts, while it runs, while it ends."""
    for milliseconds in range(0, 120, 6):
        client = box.crate.start("run", "--name", "web", *box.words("sh", "-c", "sleep 0.02; exit 3"), stdout=-1, stderr=-1)
        begun = time.monotonic()
        while time.monotonic() - begun < milliseconds / 1000:
            pass
        for pid in _descendants(client.pid):
            if _is_supervisor(pid):
                os.kill(pid, signal.SIGKILL)
        output = client.communicate(timeout=30)
        assert client.returncode in {3, 125}, output
        if box.crate("inspect", "web").returncode == 0:
            until(lambda: exit_of(box, "web")[0] != "running")  # whoever takes over ends what had not begun
            status = exit_of(box, "web")
            assert status[0] in {"created", "exited"}, (status, output)
            assert client.returncode == 125 or status == ("exited", 3)
            box.crate.ok("rm", "-f", "web")


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children] + [one for child in children for one in _descendants(int(child))]


def _is_supervisor(pid: int) -> bool:
    """The container's first process has its name as well, until it executes the program, but its own PID namespace."""
    try:
        name, own = Path(f"/proc/{pid}/comm").read_text().strip(), os.readlink("/proc/self/ns/pid")
        return name == "crate-superviso" and os.readlink(f"/proc/{pid}/ns/pid") == own
    except OSError:
        return False


def test_the_first_process_is_found_below_a_guardian_too(box, until) -> None:
    box.detached("--name", "web", "@", "sleep", "1000")
    pid = box.crate.json("inspect", "web")[0]["State"]["Pid"]
    where = box.crate.root / "containers" / identity_of(box, "web")
    assert lost.first_process(str(where)) == pid
    kill(box, "web", "crate-superviso", until)
    assert lost.first_process(str(where)) == pid
    box.crate.ok("rm", "-f", "web")


def test_no_first_process_is_found_below_a_supervisor_that_ends_just_then(monkeypatch, tmp_path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    monkeypatch.setattr(lost, "_holders", lambda _where: [ended.pid])
    assert lost.first_process(str(tmp_path)) is None


_NO_GUARDIAN = """
import os, subprocess
from cratebox.engine import takeover
bystander = subprocess.Popen(["sleep", "1000"])
child = os.fork()
if child == 0:
    os.setsid()
    made = subprocess.Popen(["sleep", "1000"])
    takeover.end_what_was_made()
    os._exit(0 if made.wait() == -9 else 1)
os.waitpid(child, 0)
print("alive" if bystander.poll() is None else "killed")
bystander.kill()
"""


def test_what_was_being_made_is_ended_but_no_child_of_a_parent_that_is_no_guardian() -> None:
    """Init is the parent of one whose guardian was killed: its children are all that runs on the machine."""
    told = subprocess.run([sys.executable, "-c", _NO_GUARDIAN], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout == "alive\n"
