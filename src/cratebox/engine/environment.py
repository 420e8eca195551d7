"""The variables of a container, as -e and --env-file say them. Pure but for the reading of the file."""

from __future__ import annotations

from cratebox.engine.words import shown
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ENV_FILE_LIMIT = 1 << 20  # bytes


def parse_env(text: str, host: Mapping[str, str]) -> str | None:
    """Return KEY=VALUE for `-e text`; KEY alone takes the value of `host`, and None is returned where that has none."""
    key, equals, _ = text.partition("=")
    if not key or "\0" in text:
        raise InvalidValue(f"not an environment variable: {shown(text)}", "write KEY=VALUE, or KEY for the value it has here")
    if equals:
        return text
    return f"{key}={host[key]}" if key in host else None


def read_env_file(path: str, host: Mapping[str, str], keep_bare: bool = False, kind: str = "environment") -> tuple[str, ...]:
    """Return the KEY=VALUE lines of an --env-file (`parse_env_file`), or of one of another `kind`. Raises InvalidValue, also
    where it cannot be read.
    """
    from cratebox.engine import given_files

    return parse_env_file(given_files.read(path, _ENV_FILE_LIMIT, kind), path, host, keep_bare)


def parse_env_file(raw: bytes, path: str, host: Mapping[str, str], keep_bare: bool = False) -> tuple[str, ...]:
    """Read the lines of an --env-file by Docker's rules: `path` is for messages.

    A line is KEY=VALUE, or KEY for the host's value; what stands after = is taken as it is, quotes and trailing space
    included. With `keep_bare`, as for a --label-file, KEY alone stays as it is. Empty lines and those that begin with # do not
    count, nor does a byte order mark.
    """
    found = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        where = f"{shown(path)}, line {number}"
        try:
            text = line.removesuffix(b"\r").decode("utf-8").lstrip()
        except UnicodeDecodeError:
            raise InvalidValue(f"{where} is not UTF-8") from None
        if not text or text.startswith("#"):
            continue
        key = text.partition("=")[0]
        if not key or "\0" in text or any(character.isspace() for character in key):
            why = "a NUL byte" if "\0" in text else "a space in the variable's name" if key else "no name before ="
            raise InvalidValue(f"{where}: {why}: {shown(text)}", "write KEY=VALUE; there is no `export` here")
        variable = text if keep_bare else parse_env(text, host)
        if variable is not None:
            found.append(variable)
    return tuple(found)
