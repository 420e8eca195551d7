"""Moments as people type them."""

from __future__ import annotations

import time

import pytest

from cratebox.engine.times import moment
from cratebox.errors import InvalidValue


@pytest.mark.parametrize(
    ("text", "wanted"), [("0", 0), ("0.0", 0), ("1", 10**9), ("1.5", 15 * 10**8), ("1970-01-01T00:00:01Z", 10**9)]
)
def test_a_number_is_seconds_since_1970_and_zero_is_the_first_of_them(text: str, wanted: int) -> None:
    assert moment(text, "since") == wanted


@pytest.mark.parametrize(("text", "ago"), [("0s", 0), ("10m", 600)])
def test_a_duration_is_how_long_ago(text: str, ago: int) -> None:
    assert moment(text, "since") / 1e9 == pytest.approx(time.time() - ago, abs=60)


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(InvalidValue, match="--since is a time"):
        moment("soon", "since")
