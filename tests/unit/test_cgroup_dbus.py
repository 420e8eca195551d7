"""Which bus is asked, and as whom."""

from __future__ import annotations

import os

import pytest

from cratebox.cgroup import dbus

UID = 1001


@pytest.mark.parametrize(
    ("variables", "user", "address"),
    [
        ({}, False, "unix:path=/run/dbus/system_bus_socket"),
        ({"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/x"}, False, "unix:path=/x"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, True, "unix:path=/run/user/7/bus"),
        ({"XDG_RUNTIME_DIR": "relative"}, True, f"unix:path=/run/user/{UID}/bus"),
        ({}, True, f"unix:path=/run/user/{UID}/bus"),
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:abstract=a,guid=b", "XDG_RUNTIME_DIR": "/r"}, True, "unix:abstract=a,guid=b"),
    ],
)
def test_the_bus_is_where_the_environment_says_or_where_it_usually_is(monkeypatch, variables, user, address):
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dbus, "_outer", lambda _uid: UID)
    assert dbus._address(user) == address


@pytest.mark.parametrize(("uid", "outside"), [(0, 1001), (5, 100004), (70000, 70000)])
def test_in_a_user_namespace_we_are_who_we_are_outside(monkeypatch, uid, outside):
    monkeypatch.setattr(dbus, "read_text", lambda _path: "         0       1001          1\n         1     100000      65536\n")
    assert dbus._outer(uid) == outside


def test_outside_of_one_we_are_ourselves():
    assert dbus._outer(os.geteuid()) == os.geteuid()
