"""The verbs of crate-oci, each in a process of its own: what they do, in which state, and what is left."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from cratebox.errors import StorageError
from cratebox.linux import const, fdpass
from cratebox.runtime import bundle as bundles
from support import commands


def _cgroups(word: str) -> list[str]:
    return [where for where, _names, _files in os.walk("/sys/fs/cgroup") if word in where]


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _kill(pid: int) -> None:
    assert pid > 1, "0 would be all of us"
    os.kill(pid, signal.SIGKILL)


def test_a_container_goes_through_its_states(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    seen = [oci.status(name)]
    oci.ok("start", name)
    seen.append(oci.status(name))
    oci.ok("kill", name, "KILL")
    oci.until(name, "stopped")
    oci.ok("delete", name)
    assert seen == ["created", "running"]
    assert oci.left() == []


def test_the_program_does_not_run_before_start(oci):
    bundle = oci.bundle(script="echo ran > /tmp/mark; sleep 900")
    name = oci.create(bundle)
    time.sleep(0.2)
    assert not (bundle.rootfs / "tmp/mark").exists()
    oci.ok("start", name)
    deadline = time.monotonic() + 30
    while not (bundle.rootfs / "tmp/mark").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    oci.ok("delete", "--force", name)


def test_state_has_what_engines_read(oci):
    bundle = oci.bundle("/bin/sleep", "900")
    bundle.spec["annotations"] = {"org.example.key": "value"}
    name = oci.create(bundle)
    state = oci.state(name)
    oci.ok("delete", name)
    assert state["ociVersion"] == "1.2.0"
    assert (state["id"], state["bundle"]) == (name, str(bundle.directory))
    assert state["rootfs"] == str(bundle.rootfs)
    assert state["pid"] > 0
    assert state["annotations"] == {"org.example.key": "value"}
    assert state["owner"] == oci.person.name
    assert state["created"].endswith("Z")


def test_a_stopped_container_has_no_pid(oci):
    name = oci.create(oci.bundle("/bin/true"))
    oci.ok("start", name)
    oci.until(name, "stopped")
    assert oci.state(name)["pid"] == 0
    oci.ok("delete", name)


def test_run_ends_with_the_programs_exit_code(oci):
    assert oci.script("exit 7", code=7) == ""
    assert oci.left() == []


def test_run_ends_with_128_and_the_signal(oci):
    # A program that is PID 1 cannot kill itself by a signal: it takes another process, outside.
    bundle = oci.bundle("/bin/sleep", "900")
    name = oci.name()
    running = oci.start("run", "--bundle", bundle.directory, name)
    deadline = time.monotonic() + 30
    while oci("state", name).returncode or oci.status(name) != "running":
        assert time.monotonic() < deadline
    oci.ok("kill", name, "SIGKILL")
    assert running.wait(60) == 128 + signal.SIGKILL


def test_run_forwards_signals(oci):
    bundle = oci.bundle(script="trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    running = oci.start("run", "--bundle", bundle.directory, oci.name(), stdout=subprocess.PIPE)
    assert running.stdout
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 42
    running.stdout.close()


def test_a_detached_run_returns_at_once(oci):
    bundle = oci.bundle("/bin/sleep", "900")
    name = oci.name()
    null = {"capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert oci("run", "--detach", "--bundle", bundle.directory, name, **null).returncode == 0
    assert oci.status(name) == "running"
    oci.ok("delete", "--force", name)


def test_a_run_that_cannot_start_leaves_nothing(oci):
    bundle = oci.bundle("/junk")
    (bundle.rootfs / "junk").write_text("junk")
    (bundle.rootfs / "junk").chmod(0o755)
    for flags in ([], ["--detach"]):
        assert "exec format error" in oci.fails("run", *flags, "--bundle", bundle.directory, oci.name())
        assert oci.left() == []


def test_create_gives_its_standard_streams(oci):
    bundle = oci.bundle(script="cat; echo error >&2").write()
    name = oci.name()
    create = oci.start("create", "--bundle", bundle.directory, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)  # fmt: skip
    assert create.wait(60) == 0
    oci.ok("start", name)
    assert create.communicate(b"hello", timeout=60) == (b"hello", b"error\n")
    oci.until(name, "stopped")
    oci.ok("delete", name)


# --- states that forbid a verb ---------------------------------------------------------------------------------------


def test_a_second_start_is_refused(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    oci.ok("start", name)
    assert "cannot start an already running container" in oci.fails("start", name)
    assert oci.status(name) == "running"
    oci.ok("delete", "--force", name)


def test_of_many_starts_at_once_one_starts(oci):
    name = oci.create(oci.bundle(script="echo x >> /tmp/count; sleep 900"))
    starts = [oci.start("start", name, stderr=subprocess.DEVNULL) for _ in range(4)]
    codes = sorted(one.wait(30) for one in starts)
    assert codes == [0, 1, 1, 1]
    oci.ok("delete", "--force", name)


def test_a_stopped_container_is_not_started_again(oci):
    name = oci.create(oci.bundle("/bin/true"))
    oci.ok("start", name)
    oci.until(name, "stopped")
    assert "cannot start a container that has stopped" in oci.fails("start", name)
    oci.ok("delete", name)


def test_an_id_is_not_taken_twice(oci):
    bundle = oci.bundle("/bin/sleep", "900")
    name = oci.create(bundle)
    assert "container with given ID already exists" in oci.fails("create", "--bundle", bundle.directory, name)
    assert oci.status(name) == "created"
    oci.ok("delete", name)


def test_of_many_creates_at_once_one_creates(oci):
    bundles = [oci.bundle("/bin/sleep", "900") for _ in range(4)]
    name, null = oci.name(), subprocess.DEVNULL
    creates = [oci.start("create", "--bundle", one.directory, name, stdout=null, stderr=null) for one in bundles]
    assert sorted(one.wait(30) for one in creates) == [0, 1, 1, 1]
    oci.ok("delete", name)


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete"])
def test_a_container_that_is_not_there_is_called_so(root_oci, verb):
    assert "container does not exist" in root_oci.fails(verb, "nobody")


def test_deleting_by_force_what_is_not_there_is_no_error(root_oci):
    root_oci.ok("delete", "--force", "nobody")


def test_a_running_container_is_not_deleted_without_force(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    oci.ok("start", name)
    assert "that is not stopped: running" in oci.fails("delete", name)
    assert oci.status(name) == "running"
    oci.ok("delete", "--force", name)
    assert oci.left() == []


def test_a_created_container_is_deleted_without_force(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    pid = oci.state(name)["pid"]
    oci.ok("delete", name)
    assert not _alive(pid)
    assert oci.left() == []


def test_a_stopped_container_is_not_killed(oci):
    name = oci.create(oci.bundle("/bin/true"))
    oci.ok("start", name)
    oci.until(name, "stopped")
    assert "container not running" in oci.fails("kill", name, "KILL")
    oci.ok("delete", name)


@pytest.mark.parametrize("signal_name", ["15", "TERM", "SIGTERM", "sigterm"])
def test_a_signal_has_many_names(root_oci, signal_name):
    bundle = root_oci.bundle(script="trap 'exit 3' TERM; echo ready > /tmp/ready; while :; do sleep 0.05; done")
    name = root_oci.name()
    running = root_oci.start("run", "--bundle", bundle.directory, name)
    deadline = time.monotonic() + 30
    while not (bundle.rootfs / "tmp/ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    root_oci.ok("kill", name, signal_name)
    assert running.wait(60) == 3


def test_kill_all_reaches_every_process(oci):
    child = 'trap "echo $0 >> /tmp/got" USR1; echo up >> /tmp/up; while :; do sleep 0.05; done'
    script = f"for n in 1 2 3; do sh -c '{child}' $n & done; trap : USR1; while :; do sleep 0.05; done"
    bundle = oci.bundle(script=script)
    name = oci.create(bundle)
    oci.ok("start", name)
    _wait_lines(bundle.rootfs / "tmp/up", 3)
    oci.ok("kill", "--all", name, "USR1")
    _wait_lines(bundle.rootfs / "tmp/got", 3)
    oci.ok("delete", "--force", name)


def _wait_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or len(path.read_text().split()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_end_of_the_first_process_ends_all(oci):
    bundle = oci.bundle(script="sleep 900 & sleep 901 & exec sleep 902")
    name = oci.create(bundle)
    oci.ok("start", name)
    time.sleep(0.3)
    oci.ok("kill", name, "KILL")
    oci.until(name, "stopped")
    oci.ok("delete", name)


# --- what create is told ---------------------------------------------------------------------------------------------


def test_the_pid_file_has_the_pid_alone(oci):
    path = oci.directory / "pid"
    name = oci.create(oci.bundle("/bin/sleep", "900"), "--pid-file", path)
    assert path.read_text() == str(oci.state(name)["pid"])
    assert sorted(one.name for one in oci.directory.glob("pid*")) == ["pid"]
    oci.ok("delete", name)


def test_an_annotation_of_any_length_keeps_no_container_from_being_deleted(root_oci):
    """What is written down is longer than the spec was: each of these letters is six there."""
    bundle = root_oci.bundle("/bin/true")
    path = bundle.directory / "long.json"
    path.write_text(json.dumps(bundle.spec | {"annotations": {"long": "\u00e9" * (3 << 20)}}, ensure_ascii=False))
    root_oci.ok("delete", root_oci.create(bundle, "--config", path))


def test_a_pid_file_is_written_through_no_symlink(tmp_path):
    """The name beside it can be guessed by those who may write to the directory."""
    (tmp_path / "victim").write_text("canary")
    (tmp_path / f"pid.{os.getpid()}").symlink_to("victim")
    with pytest.raises(StorageError, match="cannot write the pid file"):
        bundles.write_pid(str(tmp_path / "pid"), 1)
    assert (tmp_path / "victim").read_text() == "canary"


def test_a_pid_file_that_cannot_be_written_leaves_no_container(oci):
    bundle = oci.bundle("/bin/sleep", "900")
    told = oci.fails("create", "--bundle", bundle.directory, "--pid-file", "/nowhere/pid", oci.name())
    assert "cannot write the pid file /nowhere/pid" in told
    assert oci.left() == []


def test_preserved_descriptors_reach_the_program(oci):
    reading, writing = os.pipe()
    bundle = oci.bundle(script="echo through >&4; ls /proc/self/fd | wc -l")

    def third_and_fourth() -> None:
        os.dup2(reading, 3)
        os.dup2(writing, 4)

    printed = oci("run", "--preserve-fds", "2", "--bundle", bundle.directory, oci.name(), close_fds=False,
                  preexec_fn=third_and_fourth)  # fmt: skip
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"through\n"
    assert printed.stdout == "6\n", "0 to 4 and the directory itself"


def test_a_descriptor_to_preserve_that_is_not_there_is_an_error(oci):
    bundle = oci.bundle("/bin/true")
    told = oci.fails("run", "--preserve-fds", "3", "--bundle", bundle.directory, oci.name())
    assert "descriptor 3 is not open" in told


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "a b", "x\n", "ü", "@cache", "a" * 256])
def test_an_id_that_could_lead_elsewhere_is_refused(root_oci, name):
    bundle = root_oci.bundle("/bin/true")
    for words in (["create", "--bundle", bundle.directory, name], ["state", name], ["delete", "--force", name]):
        assert "invalid container ID" in root_oci.fails(*words)


def test_an_id_may_have_dots_and_signs(root_oci):
    name = root_oci.name() + "_a+b.c-D"
    root_oci.create(root_oci.bundle("/bin/true"), name=name)
    root_oci.ok("delete", name)


def test_list_has_each_container(oci):
    names = sorted(oci.create(oci.bundle("/bin/sleep", "900")) for _ in range(2))
    assert [one["id"] for one in json.loads(oci.ok("list", "--format", "json"))] == names
    assert oci.ok("list", "-q").split() == names
    for name in names:
        oci.ok("delete", name)
    assert json.loads(oci.ok("list", "-f", "json")) == []


# --- terminals -------------------------------------------------------------------------------------------------------


def _terminal(oci, script: str):
    bundle = oci.bundle(script=script)
    bundle.process["terminal"] = True
    bundle.process["consoleSize"] = {"height": 40, "width": 100}
    return bundle.write()


def test_the_terminal_is_sent_over_the_console_socket(oci):
    path = oci.directory / "console.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        os.chown(path, oci.person.uid, oci.person.gid)
        listening.listen()
        name = oci.create(_terminal(oci, "tty; stty size; read x; echo got $x"), "--console-socket", path)
        peer = listening.accept()[0]
        told, (master,) = fdpass.receive(peer)
        peer.close()
    oci.ok("start", name)
    assert told == b"/dev/ptmx"
    assert _read_until(master, b"40 100") == b"/dev/pts/0\r\n40 100\r\n"
    os.write(master, b"word\n")
    assert _read_until(master, b"got word").split() == [b"word", b"got", b"word"]
    os.close(master)
    oci.ok("delete", "--force", name)


def _read_until(master: int, word: bytes) -> bytes:
    found, deadline = b"", time.monotonic() + 30
    while word not in found and time.monotonic() < deadline:
        try:
            found += os.read(master, 4096)
        except OSError:
            break
    assert word in found
    return found


def test_a_terminal_without_a_console_socket_is_refused(oci):
    bundle = _terminal(oci, "true")
    assert "--console-socket" in oci.fails("create", "--bundle", bundle.directory, oci.name())
    assert oci.left() == []


def test_a_console_socket_that_nobody_listens_at_leaves_no_container(oci):
    bundle = _terminal(oci, "true")
    told = oci.fails("create", "--bundle", bundle.directory, "--console-socket", "/nowhere.sock", oci.name())
    assert "cannot send the terminal to /nowhere.sock" in told
    assert oci.left() == []


def test_run_copies_between_two_terminals(oci):
    ours, theirs = os.openpty()
    bundle = _terminal(oci, "test -t 0 && echo is a terminal; read x; echo got $x; exit 5")
    running = oci.start("run", "--bundle", bundle.directory, oci.name(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    _read_until(ours, b"is a terminal")
    os.write(ours, b"word\n")
    _read_until(ours, b"got word")
    assert running.wait(60) == 5
    os.close(ours)


# --- bundles that are wrong ------------------------------------------------------------------------------------------


def test_a_missing_config_is_named(root_oci):
    told = root_oci.fails("create", "--bundle", "/nowhere", "x")
    assert "/nowhere/config.json: no such file or directory" in told


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"ociVersion": 1}', "\x00", '{"ociVersion":"1.0.0"}', '{"ociVersion":"9.0.0"}']
)
def test_a_config_that_is_none_is_an_error_and_leaves_nothing(root_oci, text):
    bundle = root_oci.bundle("/bin/true")
    (bundle.directory / "config.json").write_text(text)
    root_oci.fails("create", "--bundle", bundle.directory, root_oci.name())
    assert root_oci.left() == []


def test_a_missing_root_is_named_and_nothing_is_left(oci):
    bundle = oci.bundle("/bin/true")
    bundle.spec["root"]["path"] = "nothing"
    bundle.write()
    assert "nothing" in oci.fails("create", "--bundle", bundle.directory, oci.name())
    assert oci.left() == []


def test_a_failing_mount_is_named_and_nothing_is_left(oci, word):
    bundle = oci.bundle("/bin/true").mount("/mnt", "/does/not/exist").write()
    told = oci.fails("create", "--bundle", bundle.directory, oci.name())
    assert "cannot mount /does/not/exist at /mnt: " in told
    assert oci.left() == []
    assert _cgroups(word) == []


def test_a_cgroup_that_is_in_use_is_an_error_and_nothing_is_left(root_oci, word):
    path = f"/crate-oci/{word}"
    first, second = (root_oci.bundle("/bin/sleep", "900") for _ in range(2))
    first.linux["cgroupsPath"] = second.linux["cgroupsPath"] = path
    name = root_oci.create(first)
    second.write()
    assert "in use" in root_oci.fails("create", "--bundle", second.directory, root_oci.name())
    assert root_oci.left() == [name]
    root_oci.ok("delete", name)


def test_the_container_is_in_the_cgroup_of_its_spec(root_oci, word):
    bundle = root_oci.bundle("/bin/sleep", "900")
    bundle.linux["cgroupsPath"] = f"/crate-oci/{word}/inner"
    bundle.linux["resources"] = {"pids": {"limit": 17}}
    name = root_oci.create(bundle)
    pid = root_oci.state(name)["pid"]
    assert f"/crate-oci/{word}/inner" in Path(f"/proc/{pid}/cgroup").read_text()
    limits = [Path(where, "pids.max").read_text() for where in _cgroups(f"{word}/inner") if Path(where, "pids.max").exists()]
    assert limits == ["17\n"]
    root_oci.ok("delete", name)
    assert not [one for one in _cgroups(word) if one.endswith("inner")]
    for one in _cgroups(word):
        os.rmdir(one)


# --- deaths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06, 0.08, 0.11])
def test_a_create_that_is_killed_leaves_nothing_that_delete_does_not_remove(oci, delay, word):
    bundle = oci.bundle("/bin/sleep", "900")
    name = oci.name()
    create = oci.start("create", "--bundle", bundle.directory, name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    create.kill()
    create.wait()
    found = oci("state", name)
    assert found.returncode == 1 or json.loads(found.stdout)["status"] in {"creating", "created", "stopped"}
    oci.ok("delete", "--force", name)
    assert oci.left() == []
    assert _cgroups(word) == []


@pytest.mark.parametrize("marked", [0, 1, -1])
def test_a_create_that_was_killed_while_it_marked_its_cgroup_leaves_nothing_behind_a_delete(root_oci, word, marked):
    """Whichever hierarchies it had come to by then: the process is dead, and neither state nor identity tell of a cgroup."""
    bundle = root_oci.bundle("/bin/sleep", "900")
    name = root_oci.create(bundle)
    directory = root_oci.root / name
    state = json.loads((directory / "state.json").read_text())
    if len(state["cgroup"]) < 2:
        pytest.skip("one hierarchy is marked at once")
    os.kill(state["pid"], signal.SIGKILL)
    places = list(state["cgroup"].values())
    for place in places[marked:] if marked >= 0 else places[-1:]:
        os.removexattr(place, "trusted.crate")
    (directory / "identity.json").unlink()
    (directory / "state.json").write_text(json.dumps({**state, "pid": 0, "started": 0, "cgroup": {}}))
    root_oci.ok("delete", "--force", name)
    assert root_oci.left() == []
    assert _cgroups(word) == []


def test_an_id_whose_create_was_killed_can_be_created_again(oci):
    bundle = oci.bundle("/bin/sleep", "900")
    name = oci.name()
    for delay in (0.05, 0.06, 0.07, 0.08):
        create = oci.start("create", "--bundle", bundle.directory, name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        create.kill()
        create.wait()
        if oci("state", name).stdout.find('"created"') < 0 or oci("delete", name).returncode == 0:
            oci.create(bundle, name=name)
            oci.ok("delete", name)


@pytest.mark.parametrize("event", ["mkfifo", "save", "keep", "clone", "write_pid"])
def test_a_create_that_dies_at_this_step_leaves_no_process(oci, event, word):
    """The step is replaced by a death of the creating process, in the same interpreter that the command uses."""
    bundle = oci.bundle("/bin/sleep", "900").write()
    name = oci.name()
    done = oci.person.run(
        [_python(oci), "-I", "-c", _DIES, str(oci.package.parent), event, str(oci.root), name, str(bundle.directory)]
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    oci.ok("delete", "--force", name)
    assert oci.left() == []
    assert _cgroups(word) == []


_DIES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from cratebox.runtime import bundle, create, lifecycle, state
def die(*_a, **_k):
    os.kill(os.getpid(), 9)
saves = []
real = state.save
def save(directory, one):
    real(directory, one)
    saves.append(one)
    if len(saves) == 2:
        die()
event, root, name, where = sys.argv[2:]
if event == "save": state.save = save
elif event == "mkfifo": os.mkfifo = die
elif event == "keep": create.keep = die
elif event == "clone": create._clone = die
else: bundle.write_pid = die
lifecycle.create(root, name, where, pid_file=where + "/pid")
"""


def _python(oci) -> str:
    return commands.words_of(oci.executable)[0]


def test_a_container_whose_process_was_killed_before_start_is_stopped(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    _kill(oci.state(name)["pid"])
    oci.until(name, "stopped")
    assert "has stopped" in oci.fails("start", name)
    oci.ok("delete", name)


def test_a_damaged_state_file_is_named_and_deleted_by_force(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    pid = oci.state(name)["pid"]
    path = oci.root / name / "state.json"
    path.write_text('{"id":')
    for verb in ("state", "start", "kill", "delete"):
        told = oci.fails(verb, name)
        assert f"damaged: {path}" in told
        assert "delete the container by force" in told
    assert '"damaged"' in oci.ok("list", "--format", "json")
    assert _alive(pid)
    oci.ok("delete", "--force", name)
    assert not _alive(pid)
    assert oci.left() == []


def test_the_state_of_another_process_of_that_number_is_not_ours(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    path = oci.root / name / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"started": state["started"] + 1}))
    assert oci.status(name) == "stopped"
    assert "container not running" in oci.fails("kill", name, "KILL")
    assert _alive(state["pid"])
    path.write_text(json.dumps(state))
    oci.ok("delete", name)


def test_a_state_of_an_earlier_boot_is_stopped(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    path = oci.root / name / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"bootId": "00000000-0000-0000-0000-000000000000"}))
    assert oci.status(name) == "stopped"
    path.write_text(json.dumps(state))
    oci.ok("delete", name)


def test_delete_by_force_does_not_wait_for_a_start_that_hangs(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    oci.ok("kill", name, "STOP")
    start = oci.start("start", name, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    assert start.poll() is None
    oci.ok("delete", "--force", name)
    start.wait(60)
    assert oci.left() == []


def test_verbs_from_many_threads_leave_nothing(oci, word):
    """Create, start and delete the same ID again and again, from several sides at once."""
    bundle = oci.bundle("/bin/sleep", "900").write()
    name = oci.name()
    until = time.monotonic() + 4

    def loop(*words: str | Path) -> None:
        while time.monotonic() < until:
            done = oci(*words, capture_output=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            codes.add(done.returncode)

    codes: set[int] = set()
    verbs = [("create", "--bundle", bundle.directory, name), ("start", name), ("delete", "--force", name)]
    threads = [threading.Thread(target=loop, args=verb) for verb in verbs]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    oci.ok("delete", "--force", name)
    assert codes <= {0, 1}
    assert oci.left() == []
    assert _cgroups(word) == []


@pytest.mark.parametrize("flags", [(), ("--no-new-keyring",)])
def test_the_session_keyring_is_a_new_one_unless_refused(root_oci, flags):
    if not Path("/proc/keys").exists():
        pytest.skip("the kernel has no keyrings")
    bundle = root_oci.bundle("/bin/cat", "/proc/keys").write()
    bundle.linux["maskedPaths"] = []
    said = root_oci.ok("run", *flags, "--bundle", bundle.write().directory, root_oci.name(), preexec_fn=_have_a_keyring)
    assert ("keyring   of-the-caller: 1" in said) == bool(flags)


def _have_a_keyring() -> None:
    """Join a session keyring that only who has it may see (keyctl(2), keyrings(7)), with another in it."""
    libc, of_session, whole_possessor = ctypes.CDLL(None, use_errno=True), -3, 0x3F000000
    keyctl, add_key = const.SYS_keyctl, const.SYS_keyctl - 2
    if libc.syscall(keyctl, const.KEYCTL_JOIN_SESSION_KEYRING, b"of-the-caller") < 0:
        raise OSError(ctypes.get_errno(), "keyctl: join")
    if libc.syscall(add_key, b"user", b"mark", b"x", 1, of_session) < 0:
        raise OSError(ctypes.get_errno(), "add_key")
    if libc.syscall(keyctl, 5, of_session, whole_possessor) < 0:
        raise OSError(ctypes.get_errno(), "keyctl: setperm")


def test_the_verbs_import_nothing_slow(root_oci):
    slow = {"argparse", "contextlib", "ctypes", "dataclasses", "enum", "functools", "json", "logging", "pathlib", "re",
            "shutil",
            "signal", "socket", "subprocess", "tempfile", "threading", "typing"}  # fmt: skip
    path = f"import sys; sys.path.insert(0, {str(root_oci.package.parent)!r})"
    program = f"{path}\nfrom cratebox.runtime import lifecycle\n"
    program += "[getattr(lifecycle, name) for name in dir(lifecycle)]\nprint(*sys.modules)"
    loaded = subprocess.run(
        [_python(root_oci), "-I", "-S", "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert not slow & set(loaded.split())
