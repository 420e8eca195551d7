"""A template's tokens made into a tree. (text/template/parse/parse.go)"""

from __future__ import annotations

from cratebox.cli.template import nodes
from cratebox.cli.template.functions import FUNCTIONS, REFUSED
from cratebox.cli.template.tokens import Token, tokens, wrong
from cratebox.errors import InvalidValue, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[[int, str, tuple[str, ...]], nodes.Operand]

_BRANCHES = ("if", "with", "range")
_CONSTANTS = {"true": True, "false": False, "nil": None}
_OTHER_WORDS = ("define", "template", "block")
_KNOWN = "for what crate's templates lack there is --format json, for jq and other programs"


def parse(source: str) -> tuple[nodes.Node, ...]:
    """Return the tree of a template. Raises InvalidValue, and Unsupported for what Go has and crate does not."""
    reader = _Reader(source)
    found, ended_by = reader.body()
    if ended_by:
        raise reader.wrong(f"unexpected {{{{{ended_by}}}}}")
    return found


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokens(source)
        self.index = 0
        self.variables = ["$"]
        self.loops = 0

    # Tokens

    def peek(self) -> Token:
        if self.index < len(self.tokens):
            return self.tokens[self.index]
        return Token("end", "", len(self.source), len(self.source))

    def take(self, kind: str = "") -> Token:
        token = self.peek()
        if kind and token.kind != kind:
            raise self.unexpected(token)
        self.index += 1
        return token

    def wrong(self, message: str) -> InvalidValue:
        return wrong(self.source, self.peek().begin, message)

    def unexpected(self, token: Token, where: str = "operand") -> InvalidValue:
        written = self.source[token.begin : token.end]
        shown = {"end": "EOF", "}}": '"}}"'}.get(token.kind, f"<{written}>")
        return wrong(self.source, token.begin, f"unexpected {shown}" + ("" if token.kind == "end" else f" in {where}"))

    # What gives text

    def body(self) -> tuple[tuple[nodes.Node, ...], str]:
        """Read up to {{end}}, {{else}} or the end of the text; return the nodes and which of them it was."""
        found: list[nodes.Node] = []
        while self.peek().kind != "end":
            token = self.take()
            if token.kind == "text":
                if token.value:
                    found.append(nodes.Text(str(token.value)))
                continue
            word = self.peek().word
            if word in ("end", "else"):
                self.take()
                return tuple(found), word
            found.append(self.action(word))
        return tuple(found), ""

    def action(self, word: str) -> nodes.Node:
        if word in _OTHER_WORDS:
            raise Unsupported(f"crate's templates have no {{{{{word}}}}}", _KNOWN)
        if word in _BRANCHES:
            self.take()
            return self.branch(word)
        if word in ("break", "continue"):
            self.take()
            self.take("}}")
            if not self.loops:
                raise self.wrong(f"{{{{{word}}}}} outside {{{{range}}}}")
            return nodes.Jump(word)
        pipe = self.pipe("command")
        self.take("}}")
        return nodes.Action(pipe)

    def branch(self, word: str) -> nodes.Branch:
        known = len(self.variables)
        pipe = self.pipe(word)
        self.take("}}")
        self.loops += word == "range"
        body, ended_by = self.body()
        self.loops -= word == "range"
        otherwise: tuple[nodes.Node, ...] = ()
        if ended_by == "else":
            otherwise, ended_by = self.otherwise(word)
        if ended_by != "end":
            raise self.wrong("unexpected EOF" if not ended_by else f"unexpected {{{{{ended_by}}}}}")
        if self.tokens[self.index - 1].kind != "}}":
            self.take("}}")
        del self.variables[known:]
        return nodes.Branch(word=word, pipe=pipe, body=body, otherwise=otherwise)

    def otherwise(self, word: str) -> tuple[tuple[nodes.Node, ...], str]:
        """What stands after {{else}}; {{else if X}} is an {{if X}} inside of it that has no {{end}} of its own."""
        if self.peek().word in ("if", "with") and self.peek().word == word:
            self.take()
            return (self.branch(word),), "end"
        self.take("}}")
        return self.body()

    # What has a value

    def pipe(self, what: str) -> nodes.Pipe:
        names, declares = self.declared(what)
        commands = [self.command(what)]
        while self.peek().kind == "|":
            self.take()
            commands.append(self.command("command"))
            first = commands[-1].operands[0]
            if isinstance(first, nodes.Literal) or (isinstance(first, nodes.Field) and not first.names):
                raise self.wrong(f"non executable command in pipeline stage {len(commands)}")
        if declares:
            self.variables += names
        return nodes.Pipe(tuple(commands), names, declares)

    def declared(self, what: str) -> tuple[tuple[str, ...], bool]:
        """Read `$a :=`, `$a =`, and of a range `$a, $b :=`."""
        begin = self.index
        names = []
        while self.peek().kind == "variable":
            names.append(str(self.take().value))
            sign = self.peek().kind
            if sign == "," and what == "range" and len(names) == 1:
                self.take()
            elif sign in (":=", "="):
                self.take()
                self.known(names if sign == "=" else ())
                return tuple(names), sign == ":="
            else:
                break
        self.index = begin
        return (), False

    def known(self, names: list[str] | tuple[str, ...]) -> None:
        for name in names:
            if name not in self.variables:
                raise self.wrong(f'undefined variable "{name}"')

    def command(self, what: str) -> nodes.Command:
        begin = self.peek().begin
        operands: list[nodes.Operand] = []
        while self.peek().kind not in ("|", "}}", ")", "end"):
            if operands and not self.peek().spaced:
                raise self.unexpected(self.peek())
            operands.append(self.operand())
        if self.peek().kind == "end":
            raise self.unexpected(self.peek())
        if not operands:
            raise self.wrong(f"missing value for {what}")
        if len(operands) > 1 and isinstance(operands[0], nodes.Literal):
            raise self.wrong(f"can't give argument to non-function {operands[0].source}")
        end = self.tokens[self.index - 1].end
        return nodes.Command(begin, self.source[begin:end], tuple(operands))

    def operand(self) -> nodes.Operand:
        token = self.take()
        written = self.source[token.begin : token.end]
        if token.kind == "literal":
            return nodes.Literal(token.begin, written, token.value)
        if token.kind == "word":
            return self.word(token, written)
        if token.kind == "dot":
            return nodes.Field(token.begin, written)
        if token.kind == "(":
            pipe = self.pipe("parenthesized pipeline")
            self.take(")")
            return self.chained(token, lambda at, source, names: nodes.Chain(at, source, pipe, names))
        if token.kind == "variable":
            self.known([written])
            return self.chained(token, lambda at, source, names: nodes.Variable(at, source, written, names))
        if token.kind == "field":
            first = str(token.value)
            return self.chained(token, lambda at, source, names: nodes.Field(at, source, (first, *names)))
        raise self.unexpected(token)

    def word(self, token: Token, written: str) -> nodes.Operand:
        if written in _CONSTANTS:
            return nodes.Literal(token.begin, written, _CONSTANTS[written])
        if written in REFUSED:
            raise Unsupported(f"crate's templates have no function {written}", _KNOWN)
        if written not in FUNCTIONS:
            from cratebox.text import shown

            raise wrong(self.source, token.begin, f"function {shown(written)} not defined".replace("'", '"'))
        return nodes.Word(token.begin, written, written)

    def chained(self, first: Token, make: Maker) -> nodes.Operand:
        """Read the fields that follow without a space. Go's errors stand at the first of these."""
        names: list[str] = []
        at, end = first.begin, first.end
        while self.peek().kind == "field" and not self.peek().spaced:
            token = self.take()
            at = at if names else token.begin
            names.append(str(token.value))
            end = token.end
        return make(at, self.source[first.begin : end], tuple(names))
