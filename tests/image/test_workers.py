"""Jobs in processes of their own: how they are ended."""

from __future__ import annotations

import os
import signal
import time

import pytest

from cratebox.errors import CrateError
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
