"""A container's life in several commands: create, start, logs, stop, kill, ps, inspect, rm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


def test_create_prints_the_id_and_starts_nothing(box) -> None:
    identity = box.create("echo", "x")
    assert re.fullmatch("[0-9a-f]{64}", identity)
    assert box.status(identity) == "created"
    assert box.crate.ok("ps", "-q") == ""
    assert box.crate.ok("ps", "-aq", "--no-trunc") == identity


def test_a_plain_start_prints_what_was_typed_and_leaves_it_running(box, until) -> None:
    box.create("--name", "web", "@", "sh", "-c", "echo said; exec sleep 100")
    assert box.crate.ok("start", "web") == "web"
    assert box.status("web") == "running"
    until(lambda: box.crate.ok("logs", "web") == "said")


def test_start_runs_entrypoint_and_command_of_the_image(crate, entrypoint_image, put) -> None:
    box = put(crate, entrypoint_image.image)
    assert crate.ok("start", "-a", box.create()) == "entry default"


def test_start_with_a_command_replaces_the_images_command_for_this_start_alone(crate, entrypoint_image, put) -> None:
    box = put(crate, entrypoint_image.image)
    identity = box.create()
    assert crate.ok("start", identity, "other", "-x") == "entry other -x"
    assert crate.ok("start", "-a", identity) == "entry default"


def test_start_with_a_command_ends_with_its_code(box) -> None:
    assert box.crate("start", box.create("true"), "sh", "-c", "exit 9").returncode == 9


def test_start_attached_ends_with_the_code(box) -> None:
    assert box.crate("start", "-a", box.create("sh", "-c", "exit 4")).returncode == 4


def test_start_interactive_passes_standard_input_on(box) -> None:
    assert box.crate.ok("start", "-i", box.create("-i", "@", "cat"), input="typed\n") == "typed"


def test_start_attached_without_i_passes_no_standard_input_on(box) -> None:
    assert box.crate.ok("start", "-a", box.create("-i", "@", "sh", "-c", "cat; echo end"), input="typed\n", timeout=90) == "end"


def test_start_of_a_missing_command_is_127_and_the_container_stays(box) -> None:
    identity = box.create("no-such-command")
    assert "not found" in box.crate.fails("start", identity, code=127)
    assert box.status(identity) in {"created", "exited"}
    assert box.crate.ok("start", identity, "echo", "x") == "x"


def test_the_command_of_a_container_created_by_another_process_runs_days_later(box) -> None:
    identity = box.create("-e", "A=b", "-w", "/tmp", "@", "sh", "-c", "echo $A $PWD")
    assert box.crate.ok("start", "-a", identity) == "b /tmp"


def test_what_a_container_wrote_is_there_at_the_next_start(box) -> None:
    identity = box.create("sh", "-c", "cat /kept; echo x >> /kept")
    assert box.crate("start", "-a", identity).stdout == ""
    assert box.crate.ok("start", "-a", identity) == "x"
    assert box.crate.ok("start", "-a", identity) == "x\nx"


def test_what_one_container_wrote_is_not_in_another(box) -> None:
    box.run("sh", "-c", "echo x > /kept")
    assert box("cat", "/kept").returncode == 1


def test_a_second_start_of_a_running_container_is_no_error(box) -> None:
    box.detached("--name", "web", "@", "sleep", "100")
    pid = box.crate.ok("inspect", "-f", "{{.State.Pid}}", "web")
    assert box.crate.ok("start", "web") == "web"
    assert box.crate.ok("inspect", "-f", "{{.State.Pid}}", "web") == pid
    assert "running already" in box.crate.fails("start", "web", "echo", "no")


def test_start_attached_of_a_running_container_stays_with_it(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", "trap 'echo told; exit 4' USR1; echo ready; while :; do sleep 0.05; done")
    until(lambda: box.crate.ok("logs", "web") == "ready")
    with box.crate.start("start", "-a", "web", stdout=subprocess.PIPE) as process:
        until(lambda: " attach " in box.crate.ok("events", "--since", "24h", "--until", "0s"))
        box.crate.ok("kill", "-s", "USR1", "web")
        assert process.communicate(timeout=30)[0] == b"told\n"
        assert process.returncode == 4


def test_many_starts_at_once_start_it_once(box) -> None:
    identity = box.create("sh", "-c", "echo run; exec sleep 100")
    with ThreadPoolExecutor(4) as pool:
        codes = [done.returncode for done in pool.map(lambda _: box.crate("start", identity), range(4))]
    assert codes == [0, 0, 0, 0]
    assert box.status(identity) == "running"
    assert box.crate.ok("events", "--since", "24h", "--until", "0s").count(" container start ") == 1


def test_start_of_several_starts_all(box) -> None:
    first, second = box.create("--name", "web", "@", "sleep", "100"), box.create("--name", "db", "@", "sleep", "100")
    assert box.crate.ok("start", "web", "db") == "web\ndb"
    assert [box.status(name) for name in (first, second)] == ["running", "running"]
    box.crate.ok("stop", "-t", "0", "web", "db")
    assert box.crate.ok("start", first, second[:12]) == f"{first}\n{second[:12]}"
    box.crate.ok("stop", "-t", "0", "web", "db")
    done = box.crate("start", "web", "db", "nobody")
    assert (done.returncode, done.stdout) == (1, "web\ndb\n")
    assert "no container nobody" in done.stderr
    assert "not with several" in box.crate.fails("start", "-a", "web", "db")


def test_a_command_that_is_called_as_a_container_follows_two_dashes(box) -> None:
    box.create("--name", "web", "@", "true")
    box.create("--name", "echo", "@", "true")
    assert box.crate.ok("start", "web", "--", "echo", "said") == "said"
    assert box.status("echo") == "created"
    assert "wants a COMMAND" in box.crate.fails("start", "web", "--")


def test_a_container_is_found_by_name_id_and_beginning(box) -> None:
    identity = box.create("--name", "web", "@", "true")
    for reference in ("web", identity, identity[:12], identity[:3]):
        assert box.crate.json("inspect", reference)[0]["Id"] == identity


def test_a_name_is_found_before_the_beginning_of_an_id(box) -> None:
    first = box.create("true")
    second = box.create("--name", first[:12], "@", "true")
    assert box.crate.json("inspect", first[:12])[0]["Id"] == second


def test_a_beginning_of_two_ids_is_refused(box) -> None:
    ids = [box.create("true")[0]]
    while len(set(ids)) == len(ids) and len(ids) < 18:
        ids.append(box.create("true")[0])
    twice = next(one for one in ids if ids.count(one) > 1)
    assert "2 containers" in box.crate.fails("start", twice)


@pytest.mark.parametrize("reference", ["nobody", "", "/", "..", "../..", "a" * 200, "\x1b[31m", "-"])
@pytest.mark.parametrize("verb", ["start", "logs", "inspect"])
def test_a_container_that_is_not_there_is_said(root_box, verb: str, reference: str) -> None:
    done = root_box.crate(verb, reference)
    assert done.returncode in {1, 125}
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stderr.startswith("crate ")


@pytest.mark.parametrize("reference", ["nobody", "..", "../.."])
@pytest.mark.parametrize("verb", ["stop", "kill", "rm", "rmi"])
def test_nothing_is_done_to_a_container_that_is_not_there(root_box, verb: str, reference: str) -> None:
    said = root_box.crate.fails(verb, reference, code=1)
    assert said.startswith(f"crate {verb}: ")
    assert root_box.run("echo", "x") == "x"


def test_a_name_is_taken_once(box) -> None:
    identity = box.create("--name", "web", "@", "true")
    assert identity[:12] in box.crate.fails("create", "--name", "web", box.image, "true")
    assert "web" in box.crate.fails("run", "--rm", "--name", "web", box.image, "true")
    box.crate.ok("rm", "web")
    box.create("--name", "web", "@", "true")


def test_of_many_creates_with_one_name_one_wins(box) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: box.crate("create", "--name", "web", box.image, "true"), range(6)))
    assert sorted(one.returncode for one in done) == [0] + [125] * 5
    assert len(box.crate.ok("ps", "-aq").split()) == 1


@pytest.mark.parametrize("name", ["a", "-x", "a b", "a/b", "../x", "ä", "x" * 200, "a\nb", ".", ".."])
def test_what_is_no_name_is_refused(root_box, name: str) -> None:
    assert "not a name" in root_box.crate.fails("create", f"--name={name}", root_box.image, "true")


def test_names_that_are_made_up_are_unlike(box) -> None:
    for _ in range(3):
        box.create("true")
    names = box.crate.ok("ps", "-a", "--format", "{{.Names}}").split()
    assert len(set(names)) == 3


def test_the_output_of_a_detached_container_is_kept(box, until) -> None:
    identity = box.detached("sh", "-c", "echo one; echo two >&2; printf three")
    until(lambda: box.status(identity) == "exited")
    done = box.crate("logs", identity)
    assert (done.stdout, done.stderr) == ("one\nthree", "two\n")


def test_the_log_of_the_last_lines(box, until) -> None:
    identity = box.detached("seq", "100")
    until(lambda: box.status(identity) == "exited")
    assert box.crate.ok("logs", "--tail", "2", identity) == "99\n100"
    assert box.crate.ok("logs", "-n", "0", identity) == ""


def test_following_a_log_ends_with_the_container(box) -> None:
    identity = box.detached("sh", "-c", "echo one; sleep 0.5; echo two")
    assert box.crate.ok("logs", "-f", identity, timeout=30) == "one\ntwo"


def test_the_log_of_an_attached_run_is_kept_as_well(box) -> None:
    box.crate.ok("run", "--name", "web", box.image, "echo", "said")
    assert box.crate.ok("logs", "web") == "said"


def test_a_log_that_is_cut_by_head_is_no_error(box, until) -> None:
    identity = box.detached("seq", "100000")
    until(lambda: box.status(identity) == "exited")
    reader = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process = box.crate.start("logs", identity, stdout=reader.stdin, stderr=subprocess.PIPE)
    reader.stdin.close()
    with reader.stdout:
        assert reader.stdout.read() == b"1\n"
    assert reader.wait(60) == 0
    _, said = process.communicate(timeout=60)
    assert said == b""


def test_stop_sends_sigterm(box) -> None:
    identity = box.detached("sh", "-c", "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    _wait_for(box, identity, "ready")
    assert box.crate.ok("stop", identity) == identity
    assert box.crate.ok("logs", identity) == "ready\ngot it"
    assert box.crate.json("inspect", identity)[0]["State"]["ExitCode"] == 5


def test_a_time_to_stop_of_centuries_is_as_long_as_it_takes(box, until) -> None:
    script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"
    identity = box.detached("--stop-timeout", "99999999999", "@", "sh", "-c", script)
    until(lambda: box.crate.ok("logs", identity) == "up")
    box.crate.ok("stop", identity)
    assert box.crate.ok("wait", identity) == "3"


def test_stop_kills_what_does_not_listen(box) -> None:
    identity = box.detached("sh", "-c", "trap 'echo told' TERM; echo ready; while :; do sleep 0.1; done")
    _wait_for(box, identity, "ready")
    box.crate.ok("stop", "-t", "1", identity, timeout=60)
    assert box.crate.ok("logs", identity) == "ready\ntold"  # it had the time to say so
    assert box.crate.json("inspect", identity)[0]["State"]["ExitCode"] == 137


def test_stop_takes_the_stop_signal_of_the_container(box) -> None:
    words = ("--stop-signal", "USR1", "@", "sh", "-c", "trap 'exit 6' USR1; echo ready; while :; do sleep 0.1; done")
    identity = box.detached(*words)
    _wait_for(box, identity, "ready")
    box.crate.ok("stop", identity)
    assert box.crate.json("inspect", identity)[0]["State"]["ExitCode"] == 6


def test_stop_takes_the_stop_signal_of_the_image(crate, busybox_base, put) -> None:
    box = put(crate, busybox_base.changed(StopSignal="SIGUSR2"))
    identity = box.detached("sh", "-c", "trap 'exit 6' USR2; echo ready; while :; do sleep 0.1; done")
    _wait_for(box, identity, "ready")
    crate.ok("stop", identity)
    assert crate.json("inspect", identity)[0]["State"]["ExitCode"] == 6


def test_stop_of_a_stopped_container_is_no_error(box) -> None:
    identity = box.create("true")
    assert box.crate.ok("stop", identity) == identity


def test_stop_of_a_container_to_be_removed_removes_it(box) -> None:
    box.crate.ok("run", "-d", "--rm", "--name", "web", box.image, "sleep", "100")
    box.crate.ok("stop", "-t", "0", "web")
    assert box.crate.ok("ps", "-aq") == ""


def test_kill_sends_any_signal(box, until) -> None:
    identity = box.detached("sh", "-c", "trap 'echo one' USR1; trap 'exit 8' HUP; echo ready; while :; do sleep 0.05; done")
    _wait_for(box, identity, "ready")
    box.crate.ok("kill", "-s", "USR1", identity)
    _wait_for(box, identity, "ready\none")
    box.crate.ok("kill", "--signal=1", identity)
    until(lambda: box.status(identity) == "exited")
    assert box.crate.json("inspect", identity)[0]["State"]["ExitCode"] == 8


def test_kill_of_a_container_that_does_not_run_is_refused(box) -> None:
    assert "not running" in box.crate.fails("kill", box.create("true"), code=1)


def test_rm_of_a_running_container_is_refused(box) -> None:
    box.crate.ok("run", "-d", "--name", "web", box.image, "sleep", "100")
    assert "running" in box.crate.fails("rm", "web", code=1)
    assert box.status("web") == "running"


def test_rm_by_force_ends_a_running_container(box) -> None:
    box.crate.ok("run", "-d", "--name", "web", box.image, "sleep", "100")
    assert box.crate.ok("rm", "-f", "web") == "web"
    assert box.crate.ok("ps", "-aq") == ""


def test_rm_by_force_of_a_container_to_be_removed_is_no_error(box) -> None:
    box.crate.ok("run", "-d", "--rm", "--name", "web", box.image, "sleep", "100")
    box.crate.ok("rm", "-f", "web")
    assert box.crate.ok("ps", "-aq") == ""


def test_rm_removes_files_of_any_user_and_mode(box) -> None:
    script = "mkdir -p /a/b/c && touch /a/b/c/d && chown -R 1000:1000 /a && chmod 0 /a/b/c /a/b && ln -s / /a/root"
    box.crate.ok("run", "--name", "web", box.image, "sh", "-c", script)
    box.crate.ok("rm", "web")
    assert list((box.crate.root / "containers").iterdir()) == []


def test_rm_of_many_goes_on_after_one_that_fails(box) -> None:
    first, second = box.create("true"), box.create("true")
    done = box.crate("rm", first, "nobody", second)
    assert (done.returncode, done.stdout.split()) == (1, [first, second])


def test_an_image_in_use_is_not_removed(box) -> None:
    box.create("--name", "web", "@", "true")
    assert "used by container" in box.crate.fails("rmi", box.image, code=1)
    assert box.crate.ok("start", "web", "echo", "x") == "x"
    box.crate.ok("rm", "web")
    box.crate.ok("rmi", box.image)
    assert box.crate.ok("images", "-q") == ""


def test_a_removed_image_leaves_no_blob_and_no_layer(box) -> None:
    box.crate.ok("rmi", box.image)
    left = [path for path in (box.crate.root / "images").rglob("*") if path.is_file() and "locks" not in path.parts]
    assert {path.name for path in left} <= {"oci-layout", "index.json", ".index.copy", "lock", ".reserve"}


def test_the_state_of_a_running_container_is_in_inspect(box) -> None:
    identity = box.detached("--name", "web", "--label", "a=b", "-e", "C=d", "@", "sleep", "100")
    document = box.crate.json("inspect", "web")[0]
    assert (document["Id"], document["Name"]) == (identity, "/web")
    assert document["State"]["Running"] is True
    assert os.readlink(f"/proc/{document['State']['Pid']}/ns/pid") != os.readlink("/proc/self/ns/pid")
    assert document["Config"]["Labels"] == {"a": "b"}
    assert "C=d" in document["Config"]["Env"]
    assert (document["Path"], document["Args"]) == ("sleep", ["100"])


def test_ps_shows_how_a_container_ended(box) -> None:
    assert box.crate("run", box.image, "sh", "-c", "exit 3").returncode == 3
    assert box.crate.ok("ps", "-a", "--format", "{{.Status}}").startswith("Exited (3)")
    assert box.crate.ok("ps", "-q") == ""


def test_a_container_whose_supervisor_is_killed_is_no_riddle(root_box, until) -> None:
    identity = root_box.detached("--name", "web", "@", "sleep", "100")
    pid = root_box.crate.json("inspect", "web")[0]["State"]["Pid"]
    supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{supervisor}"))
    assert root_box.status("web") in {"running", "exited", "created"}
    root_box.crate.ok("rm", "-f", "web")
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert identity not in root_box.crate.ok("ps", "-aq", "--no-trunc")


def _wait_for(box, identity: str, text: str) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 30
    while box.crate.ok("logs", identity) != text:
        assert time.monotonic() < deadline, box.crate.ok("logs", identity)
        time.sleep(0.02)
