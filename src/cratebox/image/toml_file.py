"""Files of settings in TOML: read with a limit, and every word of them accounted for.

A word that is not known may forbid something, or be a slip of the pen for one that does: it is refused, never skipped.
"""

from __future__ import annotations

from cratebox.errors import InvalidValue
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_FILE = 1 << 20  # bytes


def read(path: str, *, unwanted: str = "") -> dict[str, Any] | None:
    """Return what the TOML file `path` says, None where there is no such file. Raises InvalidValue.

    A file that has nothing but the table `unwanted` says nothing, and is not parsed.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > _MAX_FILE:
        raise InvalidValue(f"{path} is larger than {_MAX_FILE} bytes")
    # As distributions ship them: comments alone, or one table. Loading the parser takes longer than all else here.
    lines = [line for line in map(bytes.strip, raw.splitlines()) if line and not line.startswith(b"#")]
    heads = [line for line in lines if line.startswith(b"[")]
    if not lines or (heads == lines[:1] == [f"[{unwanted}]".encode()]):
        return {}
    import tomllib

    try:
        return tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InvalidValue(f"{path} is not TOML: {error}") from None


class Fields:
    """One table of the file `path`, whose words are taken one after the other: `end` refuses what nobody took.

    `name` is that of the table as TOML has it, `registries.mirrors`, empty for the whole file.
    """

    def __init__(self, path: str, table: object, name: str = "", *, many: bool = False) -> None:
        self.path, self._name = path, name
        self.where = path + (f": [[{name}]]" if many else f": [{name}]" if name else ":")
        if not isinstance(table, dict):
            raise InvalidValue(f"{path}: {name} is not a table", f"write [{name}]")
        self._left: dict[str, Any] = dict(table)

    def text(self, key: str, default: str = "") -> str:
        """Take a text. Raises InvalidValue where it is something else, as all of these do."""
        value = self._left.pop(key, default)
        return value if isinstance(value, str) else self._wrong(key, "a text")

    def word(self, key: str, words: tuple[str, ...], default: str) -> str:
        """Take one of `words`."""
        value = self.text(key, default)
        if value not in words:
            raise InvalidValue(f"{self.where} {key} cannot be {shown(value)}", f"one of {', '.join(filter(None, words))}")
        return value

    def flag(self, key: str) -> bool | None:
        """Take true or false, None where it is not there."""
        value = self._left.pop(key, None)
        return value if value is None or isinstance(value, bool) else self._wrong(key, "true or false")

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts, empty where it is not there."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._wrong(key, "a list of texts")
        return tuple(value)

    def table(self, key: str) -> Fields:
        """Take a table within this one, an empty one where it is not there."""
        return Fields(self.path, self._left.pop(key, {}), self._full(key))

    def tables(self, key: str) -> list[Fields]:
        """Take an array of tables, [[key]]."""
        value = self._left.pop(key, [])
        if not isinstance(value, list):
            raise InvalidValue(f"{self.path}: {self._full(key)} is not an array of tables", f"write [[{self._full(key)}]]")
        return [Fields(self.path, each, self._full(key), many=True) for each in value]

    def rest(self) -> dict[str, object]:
        """Take all that is left, of a table whose keys are names."""
        left, self._left = self._left, {}
        return left

    def drop(self, *keys: str) -> None:
        """Leave out what has no meaning here."""
        for key in keys:
            self._left.pop(key, None)

    def end(self) -> None:
        """Raise InvalidValue where a word was not taken."""
        if self._left:
            raise InvalidValue(f"{self.where} has {shown(min(self._left))}, which crate does not know")

    def _full(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _wrong(self, key: str, kind: str) -> Any:
        raise InvalidValue(f"{self.where} {key} is not {kind}")
