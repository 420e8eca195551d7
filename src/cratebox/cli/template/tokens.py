"""The words of a template: text, and what stands between {{ and }} cut into tokens. (text/template/parse/lex.go)"""

from __future__ import annotations

from cratebox.errors import InvalidValue
from cratebox.record import Record

_SPACE = " \t\r\n"
_SIGNS = (":=", "=", "|", "(", ")", ",")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class Token(Record):
    """`kind`: text, field, variable, literal, word, dot, or a sign ("|", "(", "{{", "}}"). `begin`, `end`: where it stands in the
    template. `spaced`: a space stands before it, so that `.A .B` are two values and `.A.B` is one.
    """

    kind: str
    value: object
    begin: int
    end: int
    spaced: bool = False

    @property
    def word(self) -> str:
        return str(self.value) if self.kind == "word" else ""


def wrong(source: str, position: int, message: str) -> InvalidValue:
    """Return the error of a template that cannot be read, which Go places by its line alone."""
    return InvalidValue(f"template parsing error: template: :{source.count(chr(10), 0, position) + 1}: {message}")


def tokens(source: str) -> list[Token]:
    """Cut a template. Raises InvalidValue."""
    found: list[Token] = []
    position = 0
    while position <= len(source):
        opened = source.find("{{", position)
        text = source[position:] if opened < 0 else source[position:opened]
        if opened < 0:
            found.append(Token("text", text, position, len(source)))
            break
        inside = opened + 2
        if source[inside : inside + 1] == "-" and source[inside + 1 : inside + 2] in (*_SPACE,):
            text = text.rstrip(_SPACE)
            inside += 1
        found.append(Token("text", text, position, opened))
        found.append(Token("{{", "", opened, inside))
        position = _Action(source, inside).cut_into(found)
    return found


class _Action:
    """What stands from {{ to }}."""

    def __init__(self, source: str, position: int) -> None:
        self.source, self.position = source, position

    def cut_into(self, found: list[Token]) -> int:
        """Append the tokens of the action and return where the text after it begins."""
        if self.source[self.position :].lstrip(_SPACE).startswith("/*"):
            return self._comment(found)
        while True:
            spaced = self._skip_space()
            after = self._closing(spaced)
            if after is not None:
                found.append(Token("}}", "", self.position, after, spaced))
                return after if self.source[self.position] == "}" else self._trimmed(after)
            found.append(self._token(spaced))

    def _skip_space(self) -> bool:
        begin = self.position
        while self.source[self.position : self.position + 1] in (*_SPACE,):
            self.position += 1
        return self.position > begin

    def _closing(self, spaced: bool) -> int | None:
        if self.source.startswith("}}", self.position):
            return self.position + 2
        return self.position + 3 if spaced and self.source.startswith("-}}", self.position) else None

    def _trimmed(self, after: int) -> int:
        while self.source[after : after + 1] in (*_SPACE,):
            after += 1
        return after

    def _comment(self, found: list[Token]) -> int:
        end = self.source.find("*/", self.position)
        if end < 0:
            raise wrong(self.source, self.position, "unclosed comment")
        self.position = end + 2
        spaced = self._skip_space()
        after = self._closing(spaced)
        if after is None:
            raise wrong(self.source, self.position, "comment ends before closing delimiter")
        found.pop()  # {{
        return self._trimmed(after) if self.source[self.position] == "-" else after

    def _token(self, spaced: bool) -> Token:
        begin = self.position
        kind, value = self._read()
        return Token(kind, value, begin, self.position, spaced)

    def _read(self) -> tuple[str, object]:
        character = self.source[self.position : self.position + 1]
        if not character:
            raise wrong(self.source, self.position, "unclosed action")
        for sign in _SIGNS:
            if self.source.startswith(sign, self.position):
                self.position += len(sign)
                return sign, sign
        if character in '"`':
            return "literal", self._raw() if character == "`" else self._quoted('"')
        if character == "'":
            return "literal", self._character()
        if character in ".$":
            self.position += 1
            name = self._name()
            if character == "$":
                return "variable", "$" + name
            if name or not self.source[self.position : self.position + 1].isdigit():
                return ("field", name) if name else ("dot", ".")
            self.position -= 1
        if character.isdigit() or character in "+-.":
            return "literal", self._number()
        name = self._name()
        if not name:
            raise wrong(self.source, self.position, f"unexpected {_go_character(character)} in operand")
        return "word", name

    def _name(self) -> str:
        begin = self.position
        while self.source[self.position : self.position + 1].isalnum() or self.source[self.position : self.position + 1] == "_":
            self.position += 1
        return self.source[begin : self.position]

    def _raw(self) -> str:
        end = self.source.find("`", self.position + 1)
        if end < 0:
            raise wrong(self.source, self.position, "unterminated raw quoted string")
        text = self.source[self.position + 1 : end]
        self.position = end + 1
        return text

    def _quoted(self, quote: str) -> str:
        text = ""
        self.position += 1
        while (character := self.source[self.position : self.position + 1]) != quote:
            if character in ("", "\n"):
                raise wrong(self.source, self.position, "unterminated quoted string")
            self.position += 1
            text += self._escaped() if character == "\\" else character
        self.position += 1
        return text

    def _escaped(self) -> str:
        letter = self.source[self.position : self.position + 1]
        self.position += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        length = {"x": 2, "u": 4, "U": 8}.get(letter, 0)
        digits = self.source[self.position : self.position + length]
        self.position += length
        try:
            return chr(int(digits, 16))
        except (ValueError, OverflowError):
            raise wrong(self.source, self.position, "invalid syntax in a quoted string") from None

    def _character(self) -> int:
        text = self._quoted("'")
        if len(text) != 1:
            raise wrong(self.source, self.position, "malformed character constant")
        return ord(text)

    def _number(self) -> int | float:
        begin = self.position
        self.position += 1
        while (character := self.source[self.position : self.position + 1]).isalnum() or character in (".", "_"):
            self.position += 1
        text = self.source[begin : self.position]
        for kind in (lambda word: int(word, 0), int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        raise wrong(self.source, begin, f"bad number syntax: {_quote(text)}")


def _go_character(character: str) -> str:
    return f"{character!r}" if character == '"' else _quote(character)


def _quote(text: str) -> str:
    from cratebox import jsontext

    return jsontext.dumps(text)
