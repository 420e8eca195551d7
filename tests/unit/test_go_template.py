"""The part of Go's templates that --format has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies

from cratebox.cli.template import parse, unescape
from cratebox.errors import CrateError, InvalidValue, Unsupported

DATA = {
    "Name": "web",
    "State": {"Status": "running", "ExitCode": 0, "Paused": False},
    "Names": ["a", "b"],
    "Config": {"Labels": {"x.y": "z", "k": "v"}},
    "None": None,
    "Bad": "a\x1b[31m",
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ""),
        ("plain } text", "plain } text"),
        ("{{.Name}}", "web"),
        ("{{ .Name }}!", "web!"),
        ("{{.State.Status}}-{{.State.ExitCode}}", "running-0"),
        ("{{.State.Paused}}", "false"),
        ("{{.Names}}", "[a b]"),
        ("{{.Config.Labels}}", "map[k:v x.y:z]"),
        ("{{.None}}", "<nil>"),
        ("{{json .State}}", '{"Status":"running","ExitCode":0,"Paused":false}'),
        ("{{.Names | json}}", '["a","b"]'),
        ("{{json .Name}}", '"web"'),
        ("{{index .Names 1}}", "b"),
        ('{{index .Config.Labels "x.y"}}', "z"),
        ('{{index .Config.Labels "none"}}', ""),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{len .Names}}", "2"),
        ('{{join .Names ", "}}', "a, b"),
        ("{{join .Names `|`}}", "a|b"),
        ("{{upper .Name}}{{lower .Name}}", "WEBweb"),
        ("{{.Name | upper | lower}}", "web"),
        ("{{index (.Names) 0}}", None),
        ("{{println .Name}}", "web\n"),
        ('{{"a\\"b"}}', 'a"b'),
        ("{{.Bad}}", "a\\x1b[31m"),
    ],
)
def test_a_template_shows_what_go_would(source: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(Unsupported):
            parse(source)
    else:
        assert parse(source).show(DATA) == expected


def test_a_dot_is_the_whole() -> None:
    assert parse("{{json .}}").show({"a": 1}) == '{"a":1}'


@pytest.mark.parametrize(
    "source",
    [
        "{{range .Names}}x{{end}}",
        "{{if .Name}}x{{end}}",
        "{{with .Name}}{{end}}",
        '{{template "x"}}',
        "{{$x := .Name}}",
        "{{- .Name}}",
        "{{.Name .Name}}",
        "{{eq .Name 1}}",
        "{{}}",
        "{{.Name | }}",
        "{{| json}}",
        "{{.Name | .Name}}",
        "{{/* c */}}",
        "{{.Name upper}}",
        "{{..}}",
    ],
)
def test_what_is_not_there_is_refused_with_what_is(source: str) -> None:
    with pytest.raises(Unsupported, match="crate's templates do not have") as caught:
        parse(source)
    assert "{{json .}}" in (caught.value.hint or "")


def test_an_open_action_is_no_template() -> None:
    with pytest.raises(InvalidValue, match="lacks a }}"):
        parse("{{.Name")


@pytest.mark.parametrize("source", ["{{.Nope}}", "{{.Name.x}}", "{{.State.Nope}}", "{{.None.x}}"])
def test_a_field_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(InvalidValue, match="there is no"):
        parse(source).show(DATA)


@pytest.mark.parametrize(
    "source",
    [
        "{{index .Names 9}}",
        "{{index .Names -1}}",
        "{{index .Name 0 1}}",
        "{{len .State.ExitCode}}",
        "{{join .Names}}",
        '{{index .Names "a"}}',
        "{{json}}",
    ],
)
def test_a_function_that_cannot_take_a_value_says_so(source: str) -> None:
    with pytest.raises(InvalidValue, match="cannot take"):
        parse(source).show(DATA)


def test_a_shells_two_characters_become_a_tab() -> None:
    assert unescape("a\\tb\\n") == "a\tb\n"


@settings(max_examples=200, deadline=None, database=None)
@given(
    source=strategies.lists(
        strategies.sampled_from(
            ["{{", "}}", ".", "Name", "Names", "State", " ", "|", "json", "index", "len", '"', "`", "0", "\\", "x", "-"]
        ),
        max_size=12,
    ).map("".join)
)
def test_no_template_makes_the_reader_stumble(source: str) -> None:
    try:
        parse(source).show(DATA)
    except CrateError:
        pass
