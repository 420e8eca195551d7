"""The search for leaks ends processes, so it must never take another's for the test's own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import leaks


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("marker", ["", "t-", "-p", "crate", "t-0123456789a", "t-0123456789abc", "t-0123456789aG", "/tmp"])
def test_a_word_that_could_be_anybodys_is_refused(marker: str) -> None:
    with pytest.raises(ValueError, match="not the word of one test"):
        leaks.Machine(marker)


def test_a_process_with_the_tests_word_is_found_and_ended() -> None:
    machine = leaks.Machine(leaks.new_word())
    with subprocess.Popen(["sleep", "60"], env={"MARK": machine.word}) as process:
        until(
            lambda: process.pid in leaks.processes_with(machine.word)
        )  # execve(2) closes Popen's pipe before it has an environment
        machine.clean()
        assert process.wait(10) == -9


def test_a_process_that_is_older_than_the_test_is_left_alone() -> None:
    machine = leaks.Machine(leaks.new_word())
    machine._begun += 1000
    with subprocess.Popen(["sleep", "60"], env={"MARK": machine.word}) as process:
        machine.clean()
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("word", ["p"])
def test_a_parameter_called_word_does_not_become_the_tests_word(word: str, request: pytest.FixtureRequest) -> None:
    assert leaks.word_of(request) != word


def test_a_cgroup_of_another_tests_container_is_not_this_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_TESTS", f"{tmp_path}/t-*")
    monkeypatch.setattr(leaks, "_is_empty", lambda _path: True)
    machine = leaks.Machine(leaks.new_word())
    (tmp_path / "t-beside/crate/root/containers/abc").mkdir(parents=True)
    (tmp_path / machine.word / "crate/root/containers/def").mkdir(parents=True)
    left = [name for name in ("abc", "def", "012") if machine._is_left(Path(f"/sys/fs/cgroup/crate-{name}"))]
    assert left == ["def", "012"]
