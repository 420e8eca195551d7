"""The search for leaks ends processes, so it must never take another's for the test's own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import leaks


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("marker", ["", "t-", "-p", "crate", "t-0123456789a", "t-0123456789abc", "t-0123456789aG", "/tmp"])
def test_a_word_that_could_be_anybodys_is_refused(marker: str) -> None:
    with pytest.raises(ValueError, match="not the word of one test"):
        leaks.Machine(marker)


def test_a_process_with_the_tests_word_is_found_and_ended() -> None:
    machine = leaks.Machine(leaks.new_word())
    with subprocess.Popen(["sleep", "900"], env={"MARK": machine.word}) as process:
        until(
            lambda: process.pid in leaks.processes_with(machine.word)
        )  # execve(2) closes Popen's pipe before it has an environment
        machine.clean()
        assert process.wait(60) == -9


def test_a_process_that_is_older_than_the_test_is_left_alone() -> None:
    machine = leaks.Machine(leaks.new_word())
    machine._begun += 1000
    with subprocess.Popen(["sleep", "900"], env={"MARK": machine.word}) as process:
        machine.clean()
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("word", ["p"])
def test_a_parameter_called_word_does_not_become_the_tests_word(word: str, request: pytest.FixtureRequest) -> None:
    assert leaks.word_of(request) != word


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that lets the search find just these cgroups, all without a process."""
    monkeypatch.setattr(leaks, "_TESTS", f"{tmp_path}/t-*")
    monkeypatch.setattr(leaks, "_PATIENCE", 0.0)
    monkeypatch.setattr(leaks, "_is_empty", lambda _path: True)
    return lambda *names: monkeypatch.setattr(leaks, "crate_cgroups", lambda: [CGROUPS / name for name in names])


CGROUPS = Path("/sys/fs/cgroup/pids/crate")


def test_a_cgroup_of_another_tests_container_is_not_this_tests(tmp_path: Path, empty, monkeypatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    empty()
    machine = leaks.Machine(leaks.new_word())
    (tmp_path / "t-beside/crate/root/containers/abc").mkdir(parents=True)
    (tmp_path / machine.word / "crate/root/containers/def").mkdir(parents=True)
    empty("abc", "def", "012")
    assert sorted(machine.leaks()) == [f"cgroup without a process: {CGROUPS / name}" for name in ("012", "def")]


def test_beside_other_tests_a_cgroup_with_the_tests_word_is_this_tests(empty, monkeypatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    empty()
    machine = leaks.Machine(leaks.new_word())
    empty("012", f"{machine.word}-0")
    assert machine.leaks() == [f"cgroup without a process: {CGROUPS / machine.word}-0"]


def test_after_the_run_a_cgroup_that_is_nobodys_is_left_and_told_with_a_test(tmp_path: Path, empty) -> None:
    empty("old")
    run = leaks.Run("0" * 8)
    (tmp_path / "t-beside/crate/root/containers/abc").mkdir(parents=True)
    (tmp_path / "t-000056789abc").mkdir()
    empty("old", "abc", "012", "t-000056789abc-0", "t-123456789abc-0")
    for name in ("first", "second"):
        run.pytest_runtest_logreport(pytest.TestReport(name, ("", 0, ""), {}, "passed", None, "teardown"))
    empty("old", "abc", "012", "345", "t-000056789abc-0", "t-123456789abc-0")
    told = [
        f"cgroup without a process: {CGROUPS / name}, first seen after {when}"
        for name, when in (("012", "first"), ("345", "the last test"))
    ]
    assert run.leaks() == told


def test_after_the_run_a_process_of_one_of_its_tests_is_left(empty) -> None:
    empty()
    run, other = leaks.Run("0123abcd"), leaks.Run("4567abcd")
    with subprocess.Popen(["sleep", "900"], env={"HOME": "/var/tmp/crate-tests-0123abcd-x/t-0/home"}) as process:
        until(run.leaks)
        assert (run.leaks(), other.leaks()) == ([f"process {process.pid}: sleep 900 "], [])
        process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_bridge_with_the_tests_word_is_left_and_taken_away(empty) -> None:
    empty()
    machine, other = leaks.Machine(leaks.new_word()), leaks.Machine(leaks.new_word())
    name = f"leak{os.urandom(4).hex()}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", name, "alias", f"crate /somewhere/{machine.word}/root bridge"], check=True)
    assert (machine.leaks(), other.leaks()) == ([f"bridge: {name}"], [])
    machine.clean()
    assert machine.leaks() == []
