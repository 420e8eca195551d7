"""Containers whose files are damaged, cannot be written or cannot be deleted: `delete --force` ends them all the same."""

from __future__ import annotations

import json
import os
import resource
import signal
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
    bundle = oci.bundle("/bin/sleep", "60")
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
    guest = root_oci.person.start(["sleep", "60"])
    for where in _cgroups(f"{word}-guest"):
        Path(where, "cgroup.procs").write_text(str(guest.pid))
    _damaged(root_oci.root / name / "state.json")
    root_oci.ok("delete", "--force", name)
    assert guest.wait(5) == -signal.SIGKILL
    assert not _alive(pid)


def test_where_both_files_are_damaged_a_process_that_stays_is_named(root_oci):
    name, pid = _running(root_oci)
    for file in ("state.json", "identity.json"):
        _damaged(root_oci.root / name / file)
    told = root_oci.fails("delete", "--force", name)
    assert f"in use by process {pid}" in told
    assert _alive(pid), "it may be another container's"
    assert root_oci.left() == [name]
    os.kill(pid, signal.SIGKILL)
    root_oci.ok("delete", "--force", name)
    assert root_oci.left() == []


def test_a_container_of_an_earlier_boot_has_nobody_left_to_kill(root_oci, word):
    name, pid = _running(root_oci, cgroupsPath=f"/crate-oci/{word}-boot")
    path = root_oci.root / name / "state.json"
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
    name = oci.create(oci.bundle("/bin/sleep", "60"))
    done = oci("start", name, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert (done.returncode, done.stderr) == (0, "")
    assert oci.status(name) == "running"
    oci.ok("delete", "--force", name)


def test_what_cannot_be_deleted_is_said(root_oci):
    name = root_oci.create(root_oci.bundle("/bin/sleep", "60"))
    (root_oci.root / name / "strange").mkdir()
    assert f"cannot delete {root_oci.root / name}: " in root_oci.fails("delete", "--force", name)
    (root_oci.root / name / "strange").rmdir()
    root_oci.ok("delete", "--force", name)
    assert root_oci.left() == []


def test_what_is_gone_already_is_forgotten_without_a_word(tmp_path):
    saved.forget(str(tmp_path / "nothing"))
    (tmp_path / "one").mkdir()
    (tmp_path / "one/state.json").touch()
    saved.forget(str(tmp_path / "one"))
    assert not (tmp_path / "one").exists()
    (tmp_path / "two/below").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot delete"):
        saved.forget(str(tmp_path / "two"))
