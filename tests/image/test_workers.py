"""Jobs in processes of their own: how they are ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from cratebox.errors import CrateError, NotFound
from cratebox.image import workers


class Finalized:
    """Something whose finalizer is running when the worker is told to stop."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(100):  # the handler runs in here
            pass


def test_a_worker_that_is_stopped_in_a_finalizer_stops_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def work(_report: workers.Report) -> None:
        made = Finalized()
        del made
        for _ in range(6000):  # a minute, where nothing stops it
            time.sleep(0.01)

    with pytest.raises(CrateError, match="ended with exit code 1"):
        workers.run([workers.Job(key="x", work=work)], 1, lambda _key, _message: None)
    assert capfd.readouterr().err == ""


def test_a_process_does_one_job_after_the_other_and_each_is_done_once() -> None:
    heard: list[tuple[str, int]] = []
    jobs = [workers.Job(key=str(number), work=lambda report: report([os.getpid()])) for number in range(40)]
    workers.run(jobs, 3, lambda key, message: heard.append((key, message[0])))
    assert sorted(heard) == sorted((str(number), dict(heard)[str(number)]) for number in range(40))
    assert len({pid for _, pid in heard}) <= 3
    assert os.getpid() not in {pid for _, pid in heard}


def test_what_a_job_says_comes_with_its_own_key() -> None:
    heard: list[tuple[str, object]] = []
    jobs = [workers.Job(key=name, work=lambda report, name=name: report(["of", name])) for name in "abcdef"]  # type: ignore[misc]
    workers.run(jobs, 2, lambda key, message: heard.append((key, message[1])))
    assert sorted(heard) == [(name, name) for name in "abcdef"]


def test_the_error_of_a_job_is_raised_and_no_later_job_is_begun() -> None:
    begun: list[str] = []

    def work(report: workers.Report, name: str) -> None:
        report(["here"])
        if name == "second":
            raise NotFound("no such thing", "look elsewhere")

    names = ("first", "second", "third", "fourth")
    jobs = [workers.Job(key=name, work=lambda report, name=name: work(report, name)) for name in names]  # type: ignore[misc]
    with pytest.raises(NotFound, match="no such thing") as caught:
        workers.run(jobs, 1, lambda key, _message: begun.append(key))
    assert caught.value.hint == "look elsewhere"
    assert begun == ["first", "second"]


def test_a_worker_that_dies_names_the_job_that_it_was_at() -> None:
    def die(_report: workers.Report) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    jobs = [workers.Job(key="easy", work=lambda _report: None), workers.Job(key="deadly", work=die)]
    with pytest.raises(CrateError, match="the process that worked on deadly was ended by signal 9"):
        workers.run(jobs, 1, lambda _key, _message: None)


def test_an_error_ends_the_jobs_beside(tmp_path: Path) -> None:
    ended = tmp_path / "ended"

    def wait(report: workers.Report) -> None:
        report(["waits"])
        try:
            for _ in range(30_000):  # five minutes, where nothing stops it
                time.sleep(0.01)
        finally:
            ended.touch()

    def fail(_report: workers.Report) -> None:
        for _ in range(30_000):
            if waits.exists():
                raise NotFound("gone")
            time.sleep(0.01)

    waits = tmp_path / "waits"
    jobs = [workers.Job(key="wait", work=wait), workers.Job(key="fail", work=fail)]
    with pytest.raises(NotFound, match="gone"):
        workers.run(jobs, 2, lambda _key, _message: waits.touch())
    assert ended.exists()
