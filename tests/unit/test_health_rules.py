"""Health: what flags and images say, and what probes add up to."""

from __future__ import annotations

import pytest

from cratebox.engine import health, healthcheck
from cratebox.engine.config import ContainerConfig, HealthCheck
from cratebox.engine.image_defaults import ImageDefaults
from cratebox.engine.records import Container
from cratebox.engine.watching import Health, Probe
from cratebox.errors import InvalidValue

S = 10**9
CHECK = HealthCheck(test=("CMD", "true"), interval=30 * S, timeout=S, start_period=10 * S, start_interval=2 * S, retries=2)


def probe(code: int) -> Probe:
    return Probe(1.0, 2.0, code)


def container(wanted: HealthCheck | None, image: HealthCheck | None) -> Container:
    config = ContainerConfig(image="x", health=wanted)
    return Container("0" * 64, "web", 0.0, "x", "y", config, ImageDefaults(healthcheck=image))


@pytest.mark.parametrize(
    ("text", "test"),
    [
        ("curl -f localhost || exit 1", ("CMD-SHELL", "curl -f localhost || exit 1")),
        ('["pg_isready", "-q"]', ("CMD", "pg_isready", "-q")),
        ('["CMD-SHELL", "true"]', ("CMD-SHELL", "true")),
        ("none", ("NONE",)),
    ],
)
def test_the_words_of_a_health_command(text: str, test: tuple[str, ...]) -> None:
    assert healthcheck.command(text) == test


@pytest.mark.parametrize("text", ["", "  ", "[", "[1]", "[]", '{"a": 1}['[::-1], "a\0b"])
def test_what_is_no_health_command(text: str) -> None:
    with pytest.raises(InvalidValue):
        healthcheck.command(text)


def test_durations_of_less_than_a_millisecond_are_refused() -> None:
    assert healthcheck.duration("1m30s", "x") == 90 * S
    assert healthcheck.duration("0", "x") == 0
    assert healthcheck.duration("disable", "x", disabling=True) == -1
    for text in ("1us", "5", "-1s", "1s1", "x", "", "1.2.3s", "s"):
        with pytest.raises(InvalidValue):
            healthcheck.duration(text, "x")


def test_flags_win_over_the_image_number_by_number() -> None:
    image = healthcheck.of_image({"Test": ("CMD", "check"), "Interval": 5 * S, "Retries": 7}, ("/bin/bash", "-c"))
    found = healthcheck.of(container(HealthCheck(interval=2 * S), image))
    assert found is not None
    assert (found.test, found.interval, found.retries, found.timeout) == (("CMD", "check"), 2 * S, 7, 30 * S)
    own = healthcheck.of(container(HealthCheck(test=("CMD-SHELL", "own")), image))
    assert own is not None
    assert healthcheck.words_of(own) == ("/bin/bash", "-c", "own")


@pytest.mark.parametrize("test", [("NONE",), (), ("CMD",), ("LATER", "x")])
def test_an_image_may_have_no_health_command(test: tuple[str, ...]) -> None:
    assert healthcheck.of(container(None, healthcheck.of_image({"Test": test}, ()))) is None


def test_no_healthcheck_wins_over_the_image() -> None:
    image = healthcheck.of_image({"Test": ("CMD", "check")}, ())
    assert healthcheck.of(container(healthcheck.NONE, image)) is None


def test_one_success_makes_it_healthy_and_so_many_failures_unhealthy() -> None:
    found = Health()
    states = []
    for code in (1, 0, 1, 1, 1, 0):
        found = health.judged(found, CHECK, probe(code), 20.0)
        states.append((found.status, found.failing_streak))
    assert states == [("starting", 1), ("healthy", 0), ("healthy", 1), ("unhealthy", 2), ("unhealthy", 3), ("healthy", 0)]


def test_failures_of_the_start_period_do_not_count_until_it_was_healthy() -> None:
    found = health.judged(Health(), CHECK, probe(1), 3.0)
    assert (found.status, found.failing_streak, len(found.log)) == ("starting", 0, 1)
    found = health.judged(health.judged(found, CHECK, probe(0), 4.0), CHECK, probe(1), 5.0)
    assert (found.status, found.failing_streak) == ("healthy", 1)


def test_the_log_keeps_the_last_five() -> None:
    found = Health()
    for code in range(8):
        found = health.judged(found, CHECK, probe(code), 20.0)
    assert [one.exit_code for one in found.log] == [3, 4, 5, 6, 7]


def test_the_pause_is_short_while_it_starts() -> None:
    assert health.pause(Health(), CHECK, 3.0) == 2.0
    assert health.pause(Health(), CHECK, 11.0) == 30.0
    assert health.pause(Health("healthy"), CHECK, 3.0) == 30.0
    assert health.pause(Health(), CHECK.replace(interval=-1), 3.0) is None


def test_a_new_run_starts_anew_and_keeps_the_log() -> None:
    before = Health("unhealthy", 9, (probe(1),))
    assert health.started(before) == Health("starting", 0, (probe(1),))
