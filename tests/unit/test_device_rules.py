"""The devices that every container may open beside its spec's."""

from __future__ import annotations

import os

import pytest

from cratebox.cgroup.model import DeviceRule, Memory, Resources
from cratebox.runtime.device_rules import with_default_devices

DENY = DeviceRule(allow=False)


def allowed(resources: Resources | None) -> set[tuple[str, int | None, int | None, str]]:
    assert resources
    return {(rule.type, rule.major, rule.minor, rule.access) for rule in resources.devices if rule.allow}


def test_null_and_terminals_are_allowed_after_the_specs_own_rules() -> None:
    found = with_default_devices(Resources(devices=(DENY,)), "v1")
    assert found is not None
    assert found.devices[0] == DENY
    assert {("c", 1, 3, "rwm"), ("c", 5, 2, "rwm"), ("c", 136, None, "rwm"), ("b", None, None, "m")} <= allowed(found)


def test_the_machines_console_is_not_among_them() -> None:
    assert ("c", 5, 1, "rwm") not in allowed(with_default_devices(Resources(devices=(DENY,)), "v2"))


@pytest.mark.parametrize("rule", [DeviceRule(allow=True), DeviceRule(allow=True, major=-1, minor=-1)])
def test_who_may_open_all_needs_none(rule: DeviceRule) -> None:
    everything = Resources(devices=(rule,))
    assert with_default_devices(everything, "v1") is everything


def test_a_spec_of_root_that_says_nothing_allows_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for given in (None, Resources(memory=Memory(limit=5))):
        found = with_default_devices(given, "v1")
        assert found is not None
        assert found.devices[0] == DENY
        assert found.memory == (given.memory if given else None)


def test_who_has_no_right_to_rules_gets_none_that_were_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_default_devices(None, "disabled") is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert with_default_devices(None, "v2") is None
