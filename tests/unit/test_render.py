"""How things look: escapes, tables, sizes, ages."""

from __future__ import annotations

import json

import pytest

from cratebox.cli import render
from cratebox.errors import InvalidValue
from cratebox.text import safe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ä", "plain ä"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("a\u202egpj", "a\\u202egpj"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("a\\x1b", "a\\x1b"),
        ("family \u200d joined", "family \u200d joined"),
    ],
)
def test_what_would_move_a_terminal_is_escaped(text: str, expected: str) -> None:
    assert safe(text) == expected


def test_json_is_safe_for_a_terminal_and_still_means_the_same() -> None:
    value = {"a\x9b": "\x1b[2J\u202e\udcff", "ü": "ä"}
    text = render.json_text(value)
    assert json.loads(text) == {"a\x9b": "\x1b[2J\u202e\ufffd", "ü": "ä"}  # a byte that is no UTF-8, as Go shows it
    assert safe(text, "\n") == text
    assert "ü" in text


def test_json_on_one_line_is_one_line() -> None:
    assert render.json_line({"a": "b\nc"}) == '{"a":"b\\nc"}'


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (7_833_000, "7.83MB"),
        (138_400_000, "138MB"),
        (999_900, "1MB"),
        (1_234_000_000, "1.23GB"),
    ],
)
def test_sizes_look_as_docker_prints_them(count: int, expected: str) -> None:
    assert render.size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "Less than a second"),
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (180, "3 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_ages_look_as_docker_prints_them(seconds: float, expected: str) -> None:
    assert render.duration(seconds) == expected


def test_a_log_time_has_nanoseconds() -> None:
    assert render.rfc3339(1_000_000_005) == "1970-01-01T00:00:01.000000005Z"


def test_a_table_has_columns_ten_wide_and_three_apart(capsys: pytest.CaptureFixture[str]) -> None:
    render.table([["ID", "LONG HEADER", "NAMES"], ["a", "b", "c"]])
    assert capsys.readouterr().out == "ID        LONG HEADER   NAMES\na         b             c\n"


def test_a_wide_character_takes_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    render.table([["日本語日本語", "x"], ["a", "x"]])
    assert capsys.readouterr().out == "日本語日本語   x\na              x\n"


def test_a_cell_cannot_carry_an_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    render.table([["a\x1b[2Jb\n", "x"]])
    assert capsys.readouterr().out == "a\\x1b[2Jb\\n   x\n"


ROWS = [{"ID": "1", "Names": "web"}, {"ID": "2", "Names": "db\x1b"}]
HEADERS = {"ID": "CONTAINER ID", "Names": "NAMES"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (None, "CONTAINER ID   NAMES\n1              web\n2              db\\x1b\n"),
        ("table", "CONTAINER ID   NAMES\n1              web\n2              db\\x1b\n"),
        ("json", '{"ID":"1","Names":"web"}\n{"ID":"2","Names":"db\\u001b"}\n'),
        ("{{.Names}}", "web\ndb\\x1b\n"),
        ("{{.ID}}\\t{{.Names}}", "1\tweb\n2\tdb\\x1b\n"),
        ("table {{.Names}}\\t{{.ID}}", "NAMES     CONTAINER ID\nweb       1\ndb\\x1b    2\n"),
        ("table {{.Names}}", "NAMES\nweb\ndb\\x1b\n"),
    ],
)
def test_a_listing_takes_all_of_dockers_formats(form: str | None, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    render.listing(ROWS, HEADERS, ("ID", "Names"), form)
    assert capsys.readouterr().out == expected


def test_a_listing_names_the_fields_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidValue, match=r'at <\.Nmae>: map has no entry for key "Nmae"') as caught:
        render.listing(ROWS, HEADERS, ("ID", "Names"), "{{.Nmae}}")
    assert caught.value.hint == "there are: ID, Names"
