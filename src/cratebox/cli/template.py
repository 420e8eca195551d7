"""The part of Go's templates that people use with --format, and no more: what is not here is refused, not guessed.

{{.Name}}, {{.State.Status}}, {{.}}, {{json .Config}}, {{index .RepoTags 0}}, {{len .Mounts}}, {{upper .Name}},
{{lower .Name}}, {{join .Names ", "}}, {{println .Name}}, and pipes: {{.Config | json}}. (The package text/template of Go.)
"""

from __future__ import annotations

import re

from cratebox.cli.render import json_line
from cratebox.errors import InvalidValue, Unsupported
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TOKEN = re.compile(
    r"""\s*(?: (?P<field>\.(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?) | "(?P<text>(?:[^"\\]|\\.)*)" | `(?P<raw>[^`]*)`
      | (?P<number>-?\d+) | (?P<word>[A-Za-z_]\w*) | (?P<pipe>\|) )""",
    re.VERBOSE,
)
_KNOWN = '{{.Field}}, {{json .}}, {{index .List 0}}, {{len .List}}, {{join .List ", "}}; for more, --format json and jq'
_OPEN_ENDED = ("Labels", "Annotations", "Volumes", "Env")
_MISSING = "<no value>"


def unescape(text: str) -> str:
    """Return a template with the \\t and \\n that a shell leaves as two characters made into one."""
    return text.replace("\\t", "\t").replace("\\n", "\n")


class Template:
    """A template that was read: pieces of text, and actions whose value stands in their place."""

    def __init__(self, source: str, pieces: list[str | list[list[Any]]]) -> None:
        self._source = source
        self._pieces = pieces

    def show(self, data: Any) -> str:
        """Return the text for `data`. Raises InvalidValue for a field that is not there."""
        parts = [piece if isinstance(piece, str) else safe(shown(_run(piece, data)), "\n\t") for piece in self._pieces]
        return "".join(parts)


def parse(source: str) -> Template:
    """Read a template. Raises Unsupported for what Go has and crate does not, InvalidValue for what is no template."""
    pieces: list[str | list[list[Any]]] = []
    rest = source
    while rest:
        text, opened, rest = rest.partition("{{")
        pieces.append(text)
        if opened:
            action, closed, rest = rest.partition("}}")
            if not closed:
                raise InvalidValue(f"the template {source} lacks a }}}} after {{{{{action}")
            pieces.append(_pipeline(action))
    return Template(source, pieces)


def _pipeline(action: str) -> list[list[Any]]:
    """Return the commands of an action, each a list of tokens: ("field", ".Name"), ("text", ", "), ("number", 0)."""
    commands: list[list[Any]] = [[]]
    position = 0
    while action[position:].strip():
        match = _TOKEN.match(action, position)
        if match is None:
            raise _refused(action)
        position = match.end()
        kind = str(match.lastgroup)
        if kind == "pipe":
            commands.append([])
        else:
            commands[-1].append(_token(kind, match[kind]))
    for number, command in enumerate(commands):
        _check(action, command, first=number == 0)
    return commands


def _token(kind: str, text: str) -> tuple[str, Any]:
    if kind == "number":
        return kind, int(text)
    if kind == "text":
        return kind, unescape(text).replace('\\"', '"').replace("\\\\", "\\")
    return ("text", text) if kind == "raw" else (kind, text)


def _check(action: str, command: list[Any], first: bool) -> None:
    """A command is one value, or a function and its arguments; after a pipe it is a function."""
    words = [text for kind, text in command if kind == "word"]
    if not command or (words and (command[0][0] != "word" or len(words) > 1 or words[0] not in _FUNCTIONS)):
        raise _refused(action)
    if not words and (len(command) > 1 or not first):
        raise _refused(action)


def _refused(action: str) -> Unsupported:
    return Unsupported(f"crate's templates do not have {{{{{action}}}}}", f"there are {_KNOWN}")


def _run(commands: list[list[Any]], data: Any) -> Any:
    piped: list[Any] = []
    for command in commands:
        if command[0][0] == "word":
            name = command[0][1]
            values = [_value(token, data) for token in command[1:]] + piped
            try:
                piped = [_FUNCTIONS[name](*values)]
            except (TypeError, LookupError, AttributeError):
                raise InvalidValue(f"the template's {name} cannot take {', '.join(map(shown, values)) or 'nothing'}") from None
        else:
            piped = [_value(command[0], data)]
    return piped[0]


def _value(token: tuple[str, Any], data: Any) -> Any:
    kind, text = token
    return _field(text, data) if kind == "field" else text


def _field(path: str, data: Any) -> Any:
    value = data
    parent = ""
    for name in path.split(".")[1:] if path != "." else []:
        if isinstance(value, dict) and parent in _OPEN_ENDED and name not in value:
            return _MISSING
        if not isinstance(value, dict) or name not in value:
            known = ", ".join(map(str, value)) if isinstance(value, dict) else ""
            raise InvalidValue(f"the template's {path}: there is no {name}", f"there are: {known}" if known else None)
        value, parent = value[name], name
    return value


def shown(value: Any) -> str:
    """Return a value as Go's %v prints it: true, <nil>, [a b], map[k:v]."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{shown(value[key])}' for key in sorted(value))}]"
    return str(value)


def _index(value: Any, *keys: Any) -> Any:
    """A list has no entry beyond its ends (an error), a map has an empty one for every key (as Go's)."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif not isinstance(key, int) or key < 0:
            raise TypeError(key)
        else:
            value = value[key]
    return value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": json_line,
    "index": _index,
    "len": len,
    "upper": lambda text: shown(text).upper(),
    "lower": lambda text: shown(text).lower(),
    "join": lambda values, separator: separator.join(map(shown, values)),
    "split": lambda text, separator: text.split(separator),
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
}
