"""Properties of a unit in annotations: names, types and the text of values."""

from __future__ import annotations

import pytest

from cratebox.cgroup import properties
from cratebox.errors import InvalidValue

RIGHT = [
    ("5", ("i", 5)), ("-5", ("i", -5)), ("0x1f", ("i", 31)), ("uint64 123456789", ("t", 123456789)), ("byte 255", ("y", 255)),
    ("1.5", ("d", 1.5)), ("double 2", ("d", 2.0)), ("true", ("b", True)), ("boolean false", ("b", False)),
    ("'inactive-or-failed'", ("s", "inactive-or-failed")), ('"a \\"b\\" c"', ("s", 'a "b" c')), ("@t 7", ("t", 7)),
    ("['a.service', 'b']", ("as", ["a.service", "b"])), ("@as []", ("as", [])), ("[uint32 1, 2]", ("au", [1, 2])),
    ("objectpath '/a'", ("o", "/a")), (" 5 ", ("i", 5)),
]  # fmt: skip
WRONG = [
    "",
    "x",
    "'open",
    "[1, 2",
    "[]",
    "5 6",
    "uint16 65536",
    "-2147483649",
    "byte 'a'",
    "[1, 'a']",
    "[[1]]",
    "@s 5",
    "1e",
    "5,",
    "(1, 2)",
]


@pytest.mark.parametrize(("text", "value"), RIGHT)
def test_a_value_is_read_with_its_type(text, value):
    assert properties.parse(text) == value


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_value_is_refused_with_the_annotation(text):
    with pytest.raises(InvalidValue, match=r"annotation 'org\.systemd\.property\.KillSignal'"):
        properties.of_annotations({"org.systemd.property.KillSignal": text})


@pytest.mark.parametrize("name", ["", "ab", "Kill-Signal", "Kill Signal", "K\xe9llSignal", "A.B"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InvalidValue, match="not the name of a property"):
        properties.of_annotations({f"org.systemd.property.{name}": "5"})


def test_seconds_become_microseconds_and_other_annotations_are_not_looked_at():
    given = {
        "org.systemd.property.TimeoutStopSec": "uint64 90",
        "org.systemd.property.RuntimeMaxSec": "1.5",
        "other": "(",
        "org.systemd": "",
    }
    assert properties.of_annotations(given) == [("TimeoutStopUSec", ("t", 90_000_000)), ("RuntimeMaxUSec", ("t", 1_500_000))]
    with pytest.raises(InvalidValue, match="not a number of seconds"):
        properties.of_annotations({"org.systemd.property.TimeoutStopSec": "'5'"})
