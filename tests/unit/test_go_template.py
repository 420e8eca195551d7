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
    "Empty": [],
    "Mounts": [{"Source": "/a", "Destination": "/b"}],
    "NetworkSettings": {"Networks": {"n": {"IPAddress": "10.0.0.2"}}, "Ports": {"80/tcp": [{"HostPort": "8080"}]}},
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
        ("{{.Config.Labels.none.deeper}}", "<no value>"),
        ("{{len .Names}}{{len .Name}}{{len .Config.Labels}}", "232"),
        ('{{join .Names ", "}}', "a, b"),
        ("{{join .Names `|`}}", "a|b"),
        ("{{upper .Name}}{{lower .Name}}", "WEBweb"),
        ("{{.Name | upper | lower}}", "web"),
        ("{{index (.Names) 0}}", "a"),
        ("{{(index .Mounts 0).Source}}{{with index .Mounts 0}}{{.Destination}}{{end}}", "/a/b"),
        ("{{println .Name}}", "web\n"),
        ('{{"a\\"b"}}', 'a"b'),
        ("{{.Bad}}", "a\\x1b[31m"),
        ("{{json .Bad}}", '"a\\u001b[31m"'),
        # range
        ("{{range .Names}}{{.}};{{end}}", "a;b;"),
        ("{{range $i, $n := .Names}}{{$i}}{{$n}}{{end}}", "0a1b"),
        ("{{range $n := .Names}}{{$n}}{{end}}", "ab"),
        ("{{range .Mounts}}{{.Source}}:{{.Destination}}{{end}}", "/a:/b"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", "k=v x.y=z "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Names}}{{$.Name}}{{.}} {{end}}", "weba webb "),
        ("{{range $i, $n := .Names}}{{if $i}},{{end}}{{$n}}{{end}}", "a,b"),
        ("{{range .Names}}{{.}}{{break}}{{end}}", "a"),
        ('{{range .Names}}{{if eq . "a"}}{{continue}}{{end}}{{.}}{{end}}', "b"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "10.0.0.2"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{range $p, $c := .NetworkSettings.Ports}}{{$p}}->{{(index $c 0).HostPort}}{{end}}", "80/tcp->8080"),
        # if
        ("{{if .State.Paused}}p{{else}}r{{end}}", "r"),
        ('{{if eq .State.Status "running"}}up{{end}}', "up"),
        ('{{if eq .Name "x"}}1{{else if eq .Name "web"}}2{{else}}3{{end}}', "2"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{if and .Name (gt (len .Names) 1) (not .State.Paused)}}yes{{end}}", "yes"),
        ('{{or .Empty "fallback"}}{{and .Name .Empty}}', "fallback[]"),
        ('{{if or .None .Empty (ne .Name "web")}}x{{else}}y{{end}}', "y"),
        ('{{eq .Name "a" "b" "web"}} {{lt 1 2}} {{le 2 2}} {{ge 1 2}} {{gt "b" "a"}}', "true true true false true"),
        # with, variables
        ("{{with .State}}{{.Status}}{{end}}{{with .None}}x{{else}}-{{end}}", "running-"),
        ("{{with $s := .State}}{{$s.Status}}{{end}}", "running"),
        ('{{$x := .Name}}{{$x}}{{$x = "y"}}{{$x}}', "weby"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        # blanks and comments
        ("a  {{- .Name -}}  b", "awebb"),
        ("{{.Name}}{{/* said\n to nobody */}}!", "web!"),
        ("a {{- /* x */ -}} b", "ab"),
        # printing
        ('{{printf "%s|%-5s|%5s|%q" .Name "a" "b" "c"}}', 'web|a    |    b|"c"'),
        ('{{printf "%d %05d %x %t %v %%" 7 42 255 true .Names}}', "7 00042 ff true [a b] %"),
        ('{{printf "%.2f %6.1f" 3.14159 2.5}}', "3.14    2.5"),
        ('{{printf "%d" .Name}} {{printf "%s"}} {{printf "a" 1}}', "%!d(string=web) %!s(MISSING) a%!(EXTRA int=1)"),
        ('{{.Name | printf "%s-%s" "x"}}', "x-web"),
        ('{{print "a" "b" 1 2 "c"}}', "ab1 2c"),
        # literals
        ("{{`raw \\n`}}{{'a'}}{{0x10}}{{1.5}}{{true}}{{nil | printf \"%v\"}}", None),
        ("{{`raw \\n`}} {{'a'}} {{0x10}} {{1.5}} {{-3}} {{true}}", "raw \\n 97 16 1.5 -3 true"),
        # Docker's
        (
            '{{join (split .Name "e") "-"}} {{title "one two"}} {{truncate "abcdef" 3}} {{truncate "ab" 5}}',
            "w-b One Two abc ab",
        ),
        ('[{{pad "x" 1 2}}][{{pad "" 1 2}}]', "[ x  ][]"),
        ("{{slice .Name 1}}{{slice .Name 0 1}}", "ebw"),
    ],
)
def test_a_template_shows_what_go_would(source: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InvalidValue):
            parse(source).show(DATA)
    else:
        assert parse(source).show(DATA) == expected


def test_a_dot_is_the_whole() -> None:
    assert parse("{{json .}}").show({"a": 1}) == '{"a":1}'


def test_what_is_after_the_deciding_value_is_not_looked_at() -> None:
    assert parse("{{if and .None .Nope}}x{{end}}{{if or .Name .Nope}}y{{end}}").show(DATA) == "y"


def test_a_method_takes_arguments() -> None:
    row = {"Label": {"k": "v"}.get, "Names": "web"}
    assert parse('{{.Label "k"}}').show(row) == "v"
    assert parse("{{json .}} {{.}}").show(row) == '{"Names":"web"} map[Names:web]'


@pytest.mark.parametrize(
    "source", ['{{template "x"}}', '{{define "x"}}{{end}}', '{{block "x" .}}{{end}}', "{{html .Name}}", "{{.Name | js}}"]
)
def test_what_is_not_there_is_refused_by_name(source: str) -> None:
    with pytest.raises(Unsupported, match="crate's templates have no"):
        parse(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Name", "unclosed action"),
        ("a\n{{.Name", "template: :2: unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{if}}x{{end}}", "missing value for if"),
        ("{{if .Name}}x", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{if .Name}}a{{else}}b{{else}}c{{end}}", "unexpected {{else}}"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{nope .Name}}", 'function "nope" not defined'),
        ("{{$x}}", 'undefined variable "$x"'),
        ("{{if $x := 1}}{{end}}{{$x}}", 'undefined variable "$x"'),
        ("{{.Name | .}}", "non executable command in pipeline stage 2"),
        ("{{.Name | }}", "missing value for command"),
        ('{{"a}}', "unterminated quoted string"),
        ("{{`a}}", "unterminated raw quoted string"),
        ("{{/* a}}", "unclosed comment"),
        ("{{1 2}}", "can't give argument to non-function 1"),
        ("{{(.Name}}", "unexpected"),
        ("{{..}}", "unexpected <.> in operand"),
        ("{{1_x}}", 'bad number syntax: "1_x"'),
        ("{{%}}", 'unexpected "%" in operand'),
    ],
)
def test_what_is_no_template_is_told_in_go_s_words(source: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(source)
    assert caught.value.message.startswith("template parsing error: template: :")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Nope}}", ':1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
        ("{{.State.Nope}}", ':1:8: executing "" at <.State.Nope>: map has no entry for key "Nope"'),
        ("\n {{.State.Nope}}", ':2:9: executing "" at <.State.Nope>: map has no entry for key "Nope"'),
        ("{{.Name.x}}", ':1:7: executing "" at <.Name.x>: can\'t evaluate field x in type interface {}'),
        ("{{.None.x}}", ':1:7: executing "" at <.None.x>: nil data; no entry for key "x"'),
        ("{{.State.Health.Status}}", 'executing "" at <.State.Health.Status>: nil data; no entry for key "Status"'),
        ("{{range .Names}}{{.x}}{{end}}", 'executing "" at <.x>: can\'t evaluate field x in type interface {}'),
        ("{{index .Names 9}}", ':1:2: executing "" at <index .Names 9>: error calling index: index out of range: 9'),
        ("{{index .Names -1}}", "error calling index: index out of range: -1"),
        ("{{index .Name 0 1}}", "error calling index: can't index item of type int"),
        ("{{len .State.ExitCode}}", "error calling len: len of type int"),
        ("{{join .Names}}", "error calling join"),
        ('{{index .Names "a"}}', "error calling index: cannot index slice/array with type string"),
        ('{{index .None "a"}}', "error calling index: index of untyped nil"),
        ("{{json}}", "error calling json"),
        ("{{upper 1}}", "error calling upper: it cannot take int"),
        ("{{eq .Name 1}}", "error calling eq: incompatible types for comparison"),
        ("{{lt true false}}", "error calling lt: invalid type for comparison"),
        ("{{.Name .Name}}", ':1:2: executing "" at <.Name>: Name is not a method but has arguments'),
        ("{{.Name | .Name}}", ':1:10: executing "" at <.Name>: Name is not a method but has arguments'),
        ("{{$x := 1}}{{$x 2}}", "can't give argument to non-function $x"),
        ("{{nil}}", "nil is not a command"),
        ("{{range .Name}}{{end}}", "range can't iterate over web"),
    ],
)
def test_what_cannot_be_shown_is_told_in_go_s_words(source: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(source).show(DATA)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_field_comes_with_those_that_are_there() -> None:
    with pytest.raises(InvalidValue) as caught:
        parse("{{.State.Nope}}").show(DATA)
    assert caught.value.hint == "there are: Status, ExitCode, Paused"


def test_text_without_end_is_cut_off() -> None:
    with pytest.raises(InvalidValue, match="too long"):
        parse("{{range 100000000}}" + "x" * 1000 + "{{end}}").show(DATA)


def test_a_shells_two_characters_become_a_tab() -> None:
    assert unescape("a\\tb\\n") == "a\tb\n"


@settings(max_examples=400, deadline=None, database=None)
@given(
    source=strategies.lists(
        strategies.sampled_from(
            [
                "{{",
                "}}",
                ".",
                "Name",
                "Names",
                "State",
                " ",
                "|",
                "json ",
                "index ",
                "len ",
                '"',
                "`",
                "0",
                "\\",
                "x",
                "-",
                "{{if ",
                "{{else}}",
                "{{end}}",
                "{{range ",
                "{{with ",
                "$x",
                ":=",
                "=",
                ",",
                "(",
                ")",
                "printf ",
                "%d",
                "/*",
                "*/",
                "'",
            ]
        ),
        max_size=14,
    ).map("".join)
)
def test_no_template_makes_the_reader_stumble(source: str) -> None:
    try:
        parse(source).show(DATA)
    except CrateError:
        pass
