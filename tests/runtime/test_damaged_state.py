"""Containers whose files are damaged, cannot be written or cannot be deleted: `delete --force` ends them all the same."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cratebox.errors import StorageError
from cratebox.runtime import state as saved


def _cgroups(word: str) -> list[str]:
    return [where for where, _names, _files in os.walk("/sys/fs/cgroup") if word in where]


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _running(oci, **linux: str) -> tuple[str, int]:
    bundle = oci.bundle("/bin/sleep", "900")
    bundle.linux.update(linux)
    name = oci.create(bundle)
    oci.ok("start", name)
    return name, oci.state(name)["pid"]


def _damaged(path: Path) -> None:
    path.write_text('{"id":')


@pytest.mark.parametrize("damage", [_damaged, Path.unlink, lambda path: path.write_text("{}")], ids=["cut", "gone", "empty"])
def test_a_running_container_whose_state_is_damaged_is_ended(oci, word, damage):
    name, pid = _running(oci)
    damage(oci.root / name / "state.json")
    assert "damaged: " in oci.fails("delete", name)
    began = time.monotonic()
    oci.ok("delete", "--force", name)
    assert time.monotonic() - began < 2, "it was killed, not waited for"
    assert not _alive(pid)
    assert oci.left() == []
    assert _cgroups(word) == []


def test_nobody_waits_for_a_writer_of_a_fifo_in_the_states_place(root_oci):
    name, pid = _running(root_oci)
    state = root_oci.root / name / "state.json"
    state.unlink()
    os.mkfifo(state)
    assert "damaged" in root_oci.ok("list")
    assert "damaged: " in root_oci.fails("state", name)
    root_oci.ok("delete", "--force", name)
    assert not _alive(pid)
    assert root_oci.left() == []


def test_the_cgroup_of_the_spec_is_found_without_the_state(root_oci, word):
    name, pid = _running(root_oci, cgroupsPath=f"/crate-oci/{word}-elsewhere")
    _damaged(root_oci.root / name / "state.json")
    root_oci.ok("delete", "--force", name)
    assert not _alive(pid)
    assert _cgroups(f"{word}-elsewhere") == []


def test_what_the_first_process_has_left_in_its_cgroup_is_ended(root_oci, word):
    """A process that somebody else has put there: not in the container's PID namespace, so it outlives its end."""
    name, pid = _running(root_oci, cgroupsPath=f"/crate-oci/{word}-guest")
    guest = root_oci.person.start(["sleep", "900"])
    for where in _cgroups(f"{word}-guest"):
        Path(where, "cgroup.procs").write_text(str(guest.pid))
    _damaged(root_oci.root / name / "state.json")
    root_oci.ok("delete", "--force", name)
    assert guest.wait(60) == -signal.SIGKILL
    assert not _alive(pid)


@pytest.mark.parametrize("damage", [_damaged, Path.unlink, lambda path: path.write_text("[]")], ids=["cut", "gone", "other"])
def test_without_state_and_identity_the_cgroup_that_is_marked_as_the_containers_is_ended(root_oci, word, damage):
    name, pid = _running(root_oci, cgroupsPath=f"/crate-oci/{word}-marked")
    for file in ("state.json", "identity.json"):
        damage(root_oci.root / name / file)
    assert "damaged: " in root_oci.fails("state", name)
    root_oci.ok("delete", "--force", name)
    assert not _alive(pid)
    assert root_oci.left() == []
    assert _cgroups(f"{word}-marked") == []


def test_a_container_of_which_no_file_is_left_is_ended(root_oci, word):
    name, pid = _running(root_oci)
    for file in (root_oci.root / name).iterdir():
        file.unlink()
    assert "its processes run" in root_oci.fails("delete", name)
    root_oci.ok("delete", "--force", name)
    assert not _alive(pid)
    assert root_oci.left() == []
    assert _cgroups(word) == []


def test_a_cgroup_of_somebody_else_in_the_state_is_not_touched(root_oci, word):
    """Neither that of another container nor one that nobody has marked."""
    other, other_pid = _running(root_oci, cgroupsPath=f"/crate-oci/{word}-other")
    foreign = root_oci.person.start(["sleep", "900"])
    unmarked = Path(f"/sys/fs/cgroup/freezer/{word}-unmarked")
    unmarked.mkdir()
    try:
        (unmarked / "cgroup.procs").write_text(str(foreign.pid))
        theirs = json.loads((root_oci.root / other / "state.json").read_text())["cgroup"]
        for wrong in (theirs, {"freezer": str(unmarked)}, {"freezer": "/sys/fs/cgroup/freezer"}):
            name, pid = _running(root_oci, cgroupsPath=f"/crate-oci/{word}-own")
            path = root_oci.root / name / "state.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"cgroup": wrong}))
            root_oci.ok("kill", "--all", name, "URG")
            root_oci.ok("delete", "--force", name)
            assert not _alive(pid)
            assert _alive(other_pid)
            assert foreign.poll() is None
            assert _cgroups(f"{word}-own") == []
    finally:
        foreign.kill()
        foreign.wait()
        unmarked.rmdir()


def test_where_nothing_tells_of_processes_any_more_delete_says_so(oci):
    bundle, name = oci.bundle("/bin/sleep", "900").write(), oci.name()
    done = oci("--cgroup-manager", "disabled", "run", "--detach", "--bundle", bundle.directory, name, capture_output=False,
               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        pytest.skip("a container without a cgroup is refused here")
    pid = oci.state(name)["pid"]
    for file in ("state.json", "identity.json"):
        (oci.root / name / file).unlink()
    assert f"cannot tell whether container {name} has processes" in oci.fails("delete", "--force", name)
    assert _alive(pid)
    os.kill(pid, signal.SIGKILL)
    shutil.rmtree(oci.root / name)


def test_a_container_of_an_earlier_boot_has_nobody_left_to_kill(root_oci, word):
    name, pid = _running(root_oci, cgroupsPath=f"/crate-oci/{word}-boot")
    for file in ("state.json", "identity.json"):
        path = root_oci.root / name / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bootId": "00000000-0000-0000-0000-000000000000"}))
    root_oci.ok("delete", "--force", name)
    assert _alive(pid), "by now the cgroup of that name is another container's"
    assert root_oci.left() == []
    os.kill(pid, signal.SIGKILL)
    while _alive(pid):
        time.sleep(0.01)
    for where in _cgroups(f"{word}-boot"):
        os.rmdir(where)


def test_a_start_writes_nothing_that_could_fail_after_the_program_runs(oci):
    """Files cannot grow for this process, as on a full disk."""
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    done = oci("start", name, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert (done.returncode, done.stderr) == (0, "")
    assert oci.status(name) == "running"
    oci.ok("delete", "--force", name)


def test_directories_in_the_containers_own_are_deleted_by_force_alone(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    strange = oci.root / name / "strange"
    oci.person.run(["mkdir", "-p", f"{strange}/deep"])
    oci.person.run(["ln", "-s", "/", f"{strange}/link"])
    assert f"cannot delete {oci.root / name}: " in oci.fails("delete", name)
    oci.ok("delete", "--force", name)
    assert oci.left() == []


def test_what_is_mounted_in_the_containers_directory_is_not_emptied(root_oci, tmp_path):
    name = root_oci.create(root_oci.bundle("/bin/sleep", "900"))
    mounted = root_oci.root / name / "mounted"
    mounted.mkdir()
    (tmp_path / "kept").touch()
    subprocess.run(["mount", "--bind", tmp_path, mounted], check=True)
    try:
        assert f"something is mounted at {mounted}" in root_oci.fails("delete", "--force", name)
        assert (tmp_path / "kept").exists()
    finally:
        subprocess.run(["umount", mounted], check=True)
    root_oci.ok("delete", "--force", name)
    assert root_oci.left() == []


def test_a_directory_in_the_place_of_a_file_keeps_nobody_alive(oci):
    for file in ("state.json", "identity.json", "config.json"):
        name, pid = _running(oci)
        (oci.root / name / file).unlink()
        (oci.root / name / file).mkdir()
        oci.ok("delete", "--force", name)
        assert not _alive(pid)
    assert oci.left() == []


VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2**63,
    2**64,
    10**400,
    1.5,
    1e308,
    "",
    "x",
    "\0",
    "../..",
    "/",
    [],
    [1],
    {},
    {"a": "/"},
    {"a": 1},
)


@pytest.mark.parametrize("file", ["state.json", "identity.json", "config.json"])
def test_whatever_one_of_the_files_says_delete_by_force_ends_the_container_and_nobody_else(root_oci, word, file):
    """Every property in turn with a value that it should not have, then the file cut, lengthened and with other bytes."""
    other, other_pid = _running(root_oci)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    name, pid = _running(root_oci)
    whole = (root_oci.root / name / file).read_bytes()
    properties = list(json.loads(whole))
    root_oci.ok("delete", "--force", name)
    for turn in range(24):
        name, pid = _running(root_oci)
        path = root_oci.root / name / file
        whole = path.read_bytes()
        path.write_bytes(_spoiled(whole, properties, turn, chance))
        what = f"seed {seed}, turn {turn}: {path.read_bytes()[:2000]!r}"
        for verb in (("state",), ("list",), ("kill", "--all"), ("delete",)):
            done = root_oci(*verb, *([name] if verb != ("list",) else []), *(["URG"] if "kill" in verb else []))
            assert "Traceback" not in done.stderr + done.stdout, what
        done = root_oci("delete", "--force", name)
        assert (done.returncode, _alive(pid)) == (0, False), f"{what}: {done.stderr}"
        assert root_oci.left() == [other], what
        assert _alive(other_pid), what
    root_oci.ok("delete", "--force", other)
    assert _cgroups(word) == []


def _spoiled(whole: bytes, properties: list[str], turn: int, chance: random.Random) -> bytes:
    if turn < 18:
        name = properties[turn % len(properties)]
        return json.dumps({**json.loads(whole), name: chance.choice(VALUES)}).encode()
    if turn == 18:
        return b""
    if turn == 19:
        return whole * 2
    if turn < 22:
        return whole[: chance.randrange(len(whole))]
    at = chance.randrange(len(whole))
    return whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :]


def test_what_is_gone_already_is_forgotten_without_a_word(tmp_path):
    saved.forget(str(tmp_path / "nothing"))
    (tmp_path / "one").mkdir()
    (tmp_path / "one/state.json").touch()
    saved.forget(str(tmp_path / "one"))
    assert not (tmp_path / "one").exists()
    (tmp_path / "two/below").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot delete"):
        saved.forget(str(tmp_path / "two"))
