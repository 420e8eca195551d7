"""What a template is made of once it was read. (text/template/parse/node.go)"""

from __future__ import annotations

from cratebox.record import Record


class Node(Record):
    """Something that gives text."""


class Operand(Record):
    """Something that has a value. `at`: where it stands in the template, for messages; `source`: how it was written."""

    at: int
    source: str


class Text(Node):
    text: str


class Literal(Operand):
    value: object


class Word(Operand):
    """A function."""

    name: str


class Field(Operand):
    """`.A.B`: fields of dot; without names, dot itself."""

    names: tuple[str, ...] = ()


class Variable(Operand):
    """`$v.A.B`; `$` alone is what the template was given."""

    name: str
    names: tuple[str, ...] = ()


class Chain(Operand):
    """`(pipeline).A.B`."""

    pipe: Pipe
    names: tuple[str, ...] = ()


class Command(Record):
    """A value, or a function and its arguments."""

    at: int
    source: str
    operands: tuple[Operand, ...]


class Pipe(Record):
    """Commands, each the last argument of the next. `variables` get the value; `declares`: by :=, and not by =."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    declares: bool = False


class Action(Node):
    pipe: Pipe


class Branch(Node):
    """`word` is if, with or range; `otherwise` stands after {{else}}."""

    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


class Jump(Node):
    """`word` is break or continue."""

    word: str
