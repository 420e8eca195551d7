"""kill -9 at any moment: the next command succeeds, and nothing is left that rm does not remove."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import leaks
from support.kin import GO, go

MOMENTS = 20
SEED = random.Random(2)


def _delays(most: float) -> list[float]:
    """Seconds from 0 to `most`, spread evenly with some noise."""
    return [most * (number + SEED.random()) / MOMENTS for number in range(MOMENTS)]


def _all_gone(box) -> None:  # type: ignore[no-untyped-def]
    """Remove all containers that are seen; nothing may be left of them then."""
    ids = box.crate.ok("ps", "-aq", "--no-trunc").split()
    if ids:
        box.crate.ok("rm", "-f", *ids)
    assert box.crate.ok("ps", "-aq") == ""


def _words_in_use(box, word: str) -> list[str]:  # type: ignore[no-untyped-def]
    return [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in leaks.processes_with(word)]


@pytest.mark.parametrize("verb", ["create", "run", "rm"])
def test_a_command_killed_at_any_moment_hinders_no_other(box, verb: str, word: str) -> None:
    for number, delay in enumerate(_delays(0.09)):
        name = f"n{number}"
        if verb == "rm":
            box.create("--name", name, "@", "true")
            process = box.crate.start("rm", name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        elif verb == "create":
            argv = ("create", "--name", name, box.image, "true")
            process = box.crate.start(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            argv = ("run", "--name", name, box.image, "sleep", "0.02")
            process = box.crate.start(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait(60)
        done = box.crate("ps", "-a")
        assert done.returncode == 0, done.stderr
        if verb != "run":  # the name is free, or its holder is a container that can be removed
            box.crate("rm", "-f", name)
            box.create("--name", name, "@", "true")
    assert box.run("echo", "fine") == "fine"
    _all_gone(box)


def test_a_run_to_be_removed_whose_client_is_killed_leaves_nothing_running_and_nothing_to_see(box, until) -> None:
    """Once its supervisor is there, that removes it; before, it is a container that was made or about to start, if anything."""
    for delay in _delays(0.09):
        argv = ("run", "--rm", box.image, "sleep", "0.02")
        process = box.crate.start(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait(60)
    until(lambda: "Up" not in box.crate.ok("ps", "--format", "{{.Status}}"))
    for state in box.crate.ok("ps", "-a", "--format", "{{.State}}").split():
        assert state in {"created", "exited"}
    _all_gone(box)


def test_an_attached_container_to_be_removed_is_removed_after_its_client_was_killed(box, until) -> None:
    argv = ("run", "--rm", "--name", "web", box.image, "sh", "-c", "echo ready; " + GO)
    process = box.crate.start(*argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait(60)
    process.stdout.close()
    assert box.status("web") == "running"
    go(box, "web")
    until(lambda: box.crate.ok("ps", "-aq") == "")
    until(lambda: list((box.crate.root / "containers").iterdir()) == [])  # its files go a moment later


def test_a_container_whose_client_was_killed_gets_the_end_of_its_input(box, until) -> None:
    argv = ("run", "-i", "--name", "web", box.image, "sh", "-c", "echo ready; cat; echo end")
    process = box.crate.start(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait(60)
    process.stdin.close()
    process.stdout.close()
    until(lambda: box.status("web") == "exited")
    assert box.crate.ok("logs", "web") == "ready\nend"


@pytest.mark.parametrize("verb", ["run", "start"])
def test_a_supervisor_killed_at_any_moment_hinders_no_other_command(root_box, verb: str, word: str) -> None:
    for number, delay in enumerate(_delays(0.05)):
        name = f"n{number}"
        if verb == "start":
            root_box.create("--name", name, "@", "sleep", "0.1")
            argv = ("start", "-a", name)
        else:
            argv = ("run", "--name", name, root_box.image, "sleep", "0.1")
        process = root_box.crate.start(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        supervisor = _child_of(process)
        time.sleep(delay)
        if supervisor:
            _kill(supervisor)
        with process.stderr:
            said = process.stderr.read().decode()
        assert process.wait(60) in {0, 125, 137}, said
        assert "Traceback" not in said
        assert "internal error" not in said
        done = root_box.crate("ps", "-a")
        assert done.returncode == 0, done.stderr
        assert root_box.status(name) in {"created", "running", "exited"}
    _all_gone(root_box)


def _child_of(process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and process.poll() is None:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        except OSError:
            return 0
        if children:
            return int(children[0])
        time.sleep(0.0005)
    return 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def test_what_killed_commands_leave_is_bounded(root_box) -> None:
    """The directories of killed creates are hidden, and small; the next create does not care."""
    for delay in _delays(0.06):
        process = root_box.crate.start("create", root_box.image, "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait(60)
    _all_gone(root_box)
    left = (root_box.crate.root / "containers").glob("*")  # where a busy machine let one come so far
    assert all(path.name.startswith(".") for path in left)
    assert root_box.run("echo", "fine") == "fine"


def test_a_pull_killed_at_any_moment_goes_on(crate, busybox_image) -> None:
    for delay in _delays(0.25)[::2]:
        process = crate.start("pull", "-q", str(busybox_image), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait(60)
    assert crate.ok("run", "--rm", "-q", str(busybox_image), "echo", "fine") == "fine"
    assert len(crate.ok("images", "-q").split()) == 1
    crate.ok("rmi", busybox_image.image.id)
    left = [path.name for path in (crate.root / "images/layers").iterdir()]
    assert [name for name in left if not name.startswith(".")] == []


def test_an_rmi_killed_at_any_moment_hinders_no_pull(root_box, busybox_image) -> None:
    for delay in _delays(0.06)[::2]:
        root_box.crate.ok("pull", "-q", str(busybox_image))
        process = root_box.crate.start("rmi", root_box.image, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait(60)
        assert root_box.crate("images").returncode == 0
    assert root_box.crate.ok("run", "--rm", "-q", str(busybox_image), "echo", "fine") == "fine"


def test_runs_pulls_and_removals_at_once_do_not_hinder_each_other(box, busybox_image) -> None:
    def act(number: int) -> str:
        if number % 4 == 0:
            done = box.crate("rmi", "-f", box.image)
            assert "Traceback" not in done.stderr
            return ""
        if number % 4 == 1:
            return box.crate.ok("run", "--rm", "-q", str(busybox_image), "echo", str(number))
        if number % 4 == 2:
            box.crate.ok("pull", "-q", str(busybox_image))
            return ""
        identity = box.crate.ok("create", "-q", str(busybox_image), "true")
        box.crate.ok("rm", identity)
        return ""

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(act, range(24)))
    assert [text for text in said if text] == [str(number) for number in range(24) if number % 4 == 1]


def test_a_start_while_it_ends_is_a_start_or_a_clear_refusal(box) -> None:
    identity = box.create("true")
    codes = set()
    for _ in range(15):
        done = box.crate("start", identity)
        assert done.returncode == 0 or "running already" in done.stderr, done.stderr
        codes.add(done.returncode)
    assert 0 in codes


def test_many_containers_leave_nothing_open(root_box, word: str, until) -> None:
    for _ in range(10):
        root_box.run("true")
    until(lambda: list((root_box.crate.root / "containers").iterdir()) == [])  # files go a moment after the answer
    until(lambda: list((root_box.crate.state / "containers").iterdir()) == [])
    until(lambda: list(leaks.processes_with(word)) == [])


FAILURES = [
    ("clone3", "EAGAIN", 1), ("clone", "EAGAIN", 1), ("memfd_create", "EMFILE", 1), ("pidfd_open", "EMFILE", 1),
    ("pipe2", "EMFILE", 1),
    ("pipe2", "EMFILE", 2), ("socketpair", "EMFILE", 1), ("prctl", "EPERM", 1), ("mkdir", "ENOSPC", 2), ("mkdir", "ENOSPC", 6),
    ("write", "ENOSPC", 1), ("write", "ENOSPC", 2), ("write", "EIO", 4), ("rename", "EIO", 1), ("rename", "EROFS", 2),
    ("fsync", "EIO", 1), ("symlink", "EDQUOT", 1), ("fsopen", "EMFILE", 1), ("fsmount", "ENOMEM", 2), ("move_mount", "EIO", 1),
    ("pivot_root", "EINVAL", 1), ("setgroups", "EPERM", 1), ("seccomp", "EACCES", 1), ("execveat", "EIO", 1),
    ("wait4", "ECHILD", 1),
]  # fmt: skip


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: it makes system calls fail")
@pytest.mark.parametrize(("call", "error", "when"), FAILURES)
def test_a_system_call_that_fails_is_said_and_leaves_nothing(root_box, call: str, error: str, when: int) -> None:
    """In each process of crate, its nth call of that kind fails as on a machine that has run out of something."""
    inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}")
    done = root_box.crate.within(inject)(
        "run", "--rm", "--name", "web", root_box.image, "sh", "-c", "echo out; exit 3", timeout=60
    )
    assert done.returncode in {3, 125, 126}, done.stderr
    if done.returncode != 3:
        assert 1 <= len(done.stderr.splitlines()) <= 2, done.stderr
        assert done.stderr.startswith("crate run: ")
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
    assert root_box.crate.ok("ps", "-aq") == ""
    assert root_box.run("--name", "web", "@", "echo", "fine") == "fine"
