"""Restart policies: their words, and what they decide."""

from __future__ import annotations

import pytest

from cratebox.engine.restarts import RestartPolicy, Restarts, check, parse
from cratebox.errors import InvalidValue


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", RestartPolicy("no")),
        ("", RestartPolicy("no")),
        ("always", RestartPolicy("always")),
        ("unless-stopped", RestartPolicy("unless-stopped")),
        ("on-failure", RestartPolicy("on-failure")),
        ("on-failure:0", RestartPolicy("on-failure", 0)),
        ("on-failure:5", RestartPolicy("on-failure", 5)),
    ],
)
def test_the_words_of_a_policy(text: str, policy: RestartPolicy) -> None:
    assert parse(text) == policy


WRONG = (
    "never", "Always", "always:3", "no:1", "on-failure:", "on-failure:-1", "on-failure:x", "on-failure:1:2", "on-failure: 1",
    "on-failure:99999999999999", "\x1b",
)  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_policy_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidValue) as error:
        parse(text)
    assert error.value.message.isprintable()


def test_a_policy_and_rm_contradict_each_other() -> None:
    with pytest.raises(InvalidValue, match="contradict"):
        check("always", remove=True)
    assert check("no", remove=True) == "no"


def test_the_delay_doubles_up_to_a_minute() -> None:
    restarts = Restarts()
    delays = [restarts.after(parse("always"), 0, 1.0, unwanted=False) for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-2:] == [60.0, 60.0]
    assert restarts.count == 12


def test_a_run_of_ten_seconds_begins_anew() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.after(parse("always"), 1, 0.5, unwanted=False)
    assert restarts.after(parse("always"), 1, 10.0, unwanted=False) == 0.1
    assert restarts.after(parse("always"), 1, 9.9, unwanted=False) == 0.2


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_what_the_user_has_stopped_stays_stopped(policy: str) -> None:
    assert Restarts().after(parse(policy), 1, 1.0, unwanted=True) is None


def test_on_failure_wants_a_failure() -> None:
    assert Restarts().after(parse("on-failure"), 0, 1.0, unwanted=False) is None
    assert Restarts().after(parse("on-failure"), 137, 1.0, unwanted=False) == 0.1


def test_on_failure_gives_up_after_its_retries() -> None:
    restarts = Restarts()
    assert [restarts.after(parse("on-failure:2"), 1, 20.0, unwanted=False) for _ in range(3)] == [0.1, 0.1, None]
    assert restarts.count == 2


def test_no_is_no() -> None:
    assert Restarts().after(parse("no"), 1, 1.0, unwanted=False) is None
