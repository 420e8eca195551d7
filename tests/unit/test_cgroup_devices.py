"""Device rules: what v1 is told line by line, and what the program of v2 answers, run in a small machine of our own."""

from __future__ import annotations

import itertools
import struct

import pytest

from cratebox.cgroup import devices, model
from cratebox.errors import InvalidValue

DENY_ALL = {"allow": False, "access": "rwm"}


def v1_lines(rules):
    return devices.v1_lines(model.decode({"devices": rules}).devices)


def v2_program(rules):
    return devices.v2_program(model.decode({"devices": rules}).devices)


def allow(kind="c", major=1, minor=3, access="rwm"):
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


def deny(**fields):
    return {**allow(**fields), "allow": False}


def asked(program, kind, major, minor, access):
    """Run the program as the kernel would; return whether it allows. No program allows everything."""
    if not program:
        return True
    context = [sum({"m": 1, "r": 2, "w": 4}[one] for one in access) << 16 | {"b": 1, "c": 2}[kind], major, minor]
    code = list(struct.iter_unpack("=BBhi", program))
    registers, at = {}, 0
    while True:
        opcode, both, offset, immediate = code[at]
        target, source = both & 15, both >> 4
        at += 1
        value = immediate & 0xFFFFFFFF
        if opcode == 0x61:
            registers[target] = context[offset // 4]
        elif opcode == 0xBC:
            registers[target] = registers[source]
        elif opcode == 0xB4:
            registers[target] = value
        elif opcode == 0x54:
            registers[target] &= value
        elif opcode == 0x74:
            registers[target] >>= value
        elif opcode == 0x56:
            at += offset if registers[target] != value else 0
        elif opcode == 0x16:
            at += offset if registers[target] == value else 0
        elif opcode == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(hex(opcode))


def meaning(rules, kind, major, minor, access):
    """For each kind of access the last rule that fits decides; before the first, nothing is allowed."""

    def decides(rule, letter):
        return (
            rule.get("type", "a") in {"a", kind}
            and rule.get("major", -1) in {-1, major}
            and rule.get("minor", -1) in {-1, minor}
            and letter in rule["access"]
        )

    return all(next((rule["allow"] for rule in reversed(rules) if decides(rule, one)), False) for one in access)


RULE_SETS = [
    [DENY_ALL],
    [DENY_ALL, allow()],
    [DENY_ALL, allow(kind="c", major=-1, minor=-1, access="m"), allow(kind="b", major=-1, minor=-1, access="m"), allow()],
    [DENY_ALL, allow(major=136, minor=-1), deny(major=136, minor=3)],
    [DENY_ALL, allow(access="r"), allow(access="w")],
    [DENY_ALL, allow(), deny(access="w")],
    [DENY_ALL, allow(), deny(access="w"), allow(access="rw")],
    [allow(), DENY_ALL, allow(minor=5)],
    [{"allow": True, "access": "rwm"}],
    [{"allow": True, "access": "rwm"}, deny()],
    [{"allow": True, "access": "r"}],
    [allow(kind="b", major=8, minor=0, access="r"), allow(kind="a", major=8, minor=1, access="rw")],
]


@pytest.mark.parametrize("rules", RULE_SETS)
def test_the_program_decides_as_the_rules_do(rules):
    program = v2_program(rules)
    numbers = [(1, 3), (1, 5), (136, 3), (136, 9), (8, 0), (8, 1), (10, 200)]
    for (major, minor), kind, access in itertools.product(numbers, "bc", ["r", "w", "m", "rw", "rm", "wm", "rwm"]):
        said = asked(program, kind, major, minor, access)
        assert said == meaning(rules, kind, major, minor, access), (kind, major, minor, access)


def test_no_rules_need_no_program_and_no_lines():
    assert v2_program([]) == b""
    assert v1_lines([]) == []


def test_everything_allowed_needs_no_program():
    assert v2_program([DENY_ALL, {"allow": True, "access": "rwm"}]) == b""


def test_v1_is_told_in_order():
    assert v1_lines([DENY_ALL, allow(), deny(kind="b", major=8, minor=-1, access="w")]) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.deny", "b 8:* w"),
    ]


def test_v1_starts_from_nothing():
    assert v1_lines([allow()]) == [("devices.deny", "a"), ("devices.allow", "c 1:3 rwm")]


def test_v1_knows_all_types_only_whole():
    assert v1_lines([{"allow": True, "access": "rwm"}]) == [("devices.allow", "a")]
    assert v1_lines([DENY_ALL, {"allow": True, "access": "m"}])[1:] == [
        ("devices.allow", "b *:* m"),
        ("devices.allow", "c *:* m"),
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"allow": "yes"},
        {"allow": True, "type": "x"},
        {"allow": True, "access": "x"},
        {"allow": True, "access": "rr"},
        {"allow": True, "access": 3},
        {"allow": True, "type": "c", "major": "1"},
        {"allow": True, "type": "c", "major": -2},
        {"allow": True, "type": "c", "major": 4096},
        {"allow": True, "type": "c", "major": 1, "minor": 1 << 20},
        {"allow": True, "type": "c", "major": True},
    ],
)
def test_a_rule_that_is_none_is_refused(rule):
    for translate in (v1_lines, v2_program):
        with pytest.raises(InvalidValue):
            translate([rule])
