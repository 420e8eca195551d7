"""A template's tree walked with the data. (text/template/exec.go)"""

from __future__ import annotations

from cratebox.cli.template import nodes
from cratebox.cli.template.functions import FUNCTIONS, OF_HEADERS, Refusal
from cratebox.cli.template.values import MISSING, Map, kind_of, shown, true
from cratebox.errors import InvalidValue
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

# Fields of Docker's that are null where there is nothing to tell of: what `inspect` leaves out, a template may ask for.
_MAY_BE_NIL = frozenset(("Health", "Healthcheck", "LogPath", "StopTimeout"))
_LARGEST = 10_000_000  # characters of text: a range of ranges of numbers must not fill the memory


class _Jump(Exception):
    """{{break}} or {{continue}}."""


def run(tree: Sequence[nodes.Node], source: str, data: Any, keep: str, headers: bool = False) -> str:
    """Return the text of the tree for `data`; `headers`: which is the names of a table's columns. Raises InvalidValue."""
    walk = _Walk(source, data, keep, OF_HEADERS if headers else FUNCTIONS)
    try:
        walk.write_all(tree, data)
    except RecursionError:
        raise InvalidValue("template parsing error: template: it is nested too deeply") from None
    return "".join(walk.parts)


class _Walk:
    def __init__(self, source: str, data: Any, keep: str, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.source, self.keep, self.functions = source, keep, functions
        self.parts: list[str] = []
        self.length = 0
        self.variables: list[tuple[str, Any]] = [("$", data)]

    def wrong(self, operand: nodes.Operand | nodes.Command, message: str, hint: str | None = None) -> InvalidValue:
        before = self.source[: operand.at]
        line = before.count("\n") + 1
        column = operand.at - (before.rfind("\n") + 1)
        where = f'template: :{line}:{column}: executing "" at <{operand.source}>'
        return InvalidValue(f"template parsing error: {where}: {message}", hint)

    # What gives text

    def write_all(self, tree: Iterable[nodes.Node], dot: Any) -> None:
        for node in tree:
            if isinstance(node, nodes.Text):
                self.write(node.text)
            elif isinstance(node, nodes.Action):
                value = self.pipe(node.pipe, dot)
                if not node.pipe.variables:
                    self.write(safe(shown(value), self.keep))
            elif isinstance(node, nodes.Branch):
                known = len(self.variables)
                self.branch(node, dot)
                del self.variables[known:]
            elif isinstance(node, nodes.Jump):
                raise _Jump(node.word)

    def write(self, text: str) -> None:
        self.length += len(text)
        if self.length > _LARGEST:
            raise InvalidValue("the template's text is too long")
        self.parts.append(text)

    def branch(self, node: nodes.Branch, dot: Any) -> None:
        if node.word == "range":
            self.loop(node, dot)
            return
        value = self.pipe(node.pipe, dot)
        if true(value):
            self.write_all(node.body, value if node.word == "with" else dot)
        else:
            self.write_all(node.otherwise, dot)

    def loop(self, node: nodes.Branch, dot: Any) -> None:
        entries = self.entries(node.pipe, self.pipe(node.pipe.replace(variables=()), dot))
        if not entries:
            self.write_all(node.otherwise, dot)
        known = len(self.variables)
        for key, value in entries:
            self.set_of_loop(node.pipe, key, value)
            try:
                self.write_all(node.body, value)
            except _Jump as jump:
                if jump.args[0] == "break":
                    break
            finally:
                del self.variables[known:]

    def set_of_loop(self, pipe: nodes.Pipe, key: Any, value: Any) -> None:
        names = pipe.variables
        for name, one in zip(names, (key, value) if len(names) == 2 else (value,), strict=False):
            self.set(name, one, pipe.declares)

    def entries(self, pipe: nodes.Pipe, value: Any) -> list[tuple[Any, Any]]:
        """Return keys and values, as Go goes through a list, through a map (by its sorted keys) and up to a number."""
        if isinstance(value, dict):
            return sorted(value.items())
        if isinstance(value, (list, tuple)):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            return [(number, number) for number in range(min(value, _LARGEST))]
        if value is None or value is MISSING:
            return []
        raise self.wrong(pipe.commands[0], f"range can't iterate over {shown(value)}")

    def set(self, name: str, value: Any, declares: bool) -> None:
        if declares:
            self.variables.append((name, value))
            return
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return

    # What has a value

    def pipe(self, pipe: nodes.Pipe, dot: Any) -> Any:
        piped: tuple[Any, ...] = ()
        for command in pipe.commands:
            piped = (self.command(command, dot, piped),)
        for name in pipe.variables:
            self.set(name, piped[0], pipe.declares)
        return piped[0]

    def command(self, command: nodes.Command, dot: Any, piped: tuple[Any, ...]) -> Any:
        first, *rest = command.operands
        if isinstance(first, nodes.Word):
            return self.call(command, first.name, rest, dot, piped)
        value = self.value(first, dot)
        if callable(value):  # a method, as .Label of `ps`
            return self.called(command, first.source, value, [*(self.value(one, dot) for one in rest), *piped])
        if rest or piped:
            field = getattr(first, "names", ())[-1:]
            what = (
                f"{field[0]} is not a method but has arguments"
                if field
                else f"can't give argument to non-function {first.source}"
            )
            raise self.wrong(first, what)
        if isinstance(first, nodes.Literal) and first.value is None:
            raise self.wrong(first, "nil is not a command")
        return value

    def call(self, command: nodes.Command, name: str, rest: Sequence[nodes.Operand], dot: Any, piped: tuple[Any, ...]) -> Any:
        if name in ("and", "or"):
            return self.short_circuit(command, name, rest, dot, piped)
        return self.called(command, name, self.functions[name], [*(self.value(one, dot) for one in rest), *piped])

    def short_circuit(
        self, command: nodes.Command, name: str, rest: Sequence[nodes.Operand], dot: Any, piped: tuple[Any, ...]
    ) -> Any:
        """`and` ends with the first value that is false, `or` with the first that is true: what follows is not looked at."""
        if not rest and not piped:
            raise self.wrong(command, f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = None
        for operand in rest:
            value = self.value(operand, dot)
            if true(value) == (name == "or"):
                return value
        return piped[0] if piped else value

    def called(self, command: nodes.Command, name: str, function: Any, values: list[Any]) -> Any:
        try:
            return function(*values)
        except Refusal as refusal:
            raise self.wrong(command, f"error calling {name}: {refusal}") from None
        except TypeError:
            given = ", ".join(map(kind_of, values)) or "nothing"
            raise self.wrong(command, f"error calling {name}: it cannot take {given}") from None

    def value(self, operand: nodes.Operand, dot: Any) -> Any:
        if isinstance(operand, nodes.Literal):
            return operand.value
        if isinstance(operand, nodes.Field):
            return self.fields(operand, dot, operand.names)
        if isinstance(operand, nodes.Variable):
            found = next(value for name, value in reversed(self.variables) if name == operand.name)
            return self.fields(operand, found, operand.names)
        if isinstance(operand, nodes.Chain):
            return self.fields(operand, self.pipe(operand.pipe, dot), operand.names)
        assert isinstance(operand, nodes.Word)
        return self.called(
            nodes.Command(operand.at, operand.source, (operand,)), operand.name, self.functions[operand.name], []
        )

    def fields(self, operand: nodes.Operand, value: Any, names: Sequence[str]) -> Any:
        for name in names:
            value = self.field(operand, value, name)
        return value

    def field(self, operand: nodes.Operand, value: Any, name: str) -> Any:
        if value is MISSING:
            return value
        if value is None:
            raise self.wrong(operand, f"nil data; no entry for key {_quoted(name)}")
        if not isinstance(value, dict):
            raise self.wrong(operand, f"can't evaluate field {name} in type interface {{}}")
        if name in value:
            return value[name]
        if isinstance(value, Map):
            return MISSING
        if name in _MAY_BE_NIL:
            return None
        known = ", ".join(map(str, value))
        raise self.wrong(operand, f"map has no entry for key {_quoted(name)}", f"there are: {known}" if known else None)


def _quoted(text: str) -> str:
    from cratebox import jsontext

    return jsontext.dumps(text)
