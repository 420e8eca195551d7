"""How things look: text from strangers made harmless, tables, sizes and ages as Docker prints them."""

from __future__ import annotations

import sys

from cratebox.text import DANGEROUS, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from cratebox.errors import CrateError


def line(text: str = "", keep: str = "") -> None:
    """Write one line to standard output, made safe."""
    sys.stdout.write(safe(text, keep) + "\n")


def complain(error: CrateError, who: str) -> None:
    """Write an error to standard error: `crate run: message`, and the hint below it."""
    text = f"{who}: {_bounded(safe(error.message))}\n"
    if error.hint:
        text += f"  hint: {_bounded(safe(error.hint))}\n"
    sys.stderr.write(text)


def _bounded(text: str) -> str:
    """An image may choose a name of a megabyte: the beginning and the end of a message tell enough."""
    return text if len(text) <= 1000 else f"{text[:600]} ... {text[-300:]}"


def json_text(value: Any) -> str:
    """Return `value` as JSON for people; what JSON leaves alone and a terminal does not is escaped as JSON does it."""
    from cratebox.jsontext import dumps_pretty

    return _json_safe(dumps_pretty(value), "\n")


def json_line(value: Any) -> str:
    """Return `value` as JSON on one line."""
    import json

    return _json_safe(json.dumps(value, ensure_ascii=False, separators=(",", ":")), "")


def _json_safe(text: str, keep: str) -> str:
    if text.isprintable():
        return text
    found = {char for char in text if (char in DANGEROUS or 0xD800 <= ord(char) < 0xE000) and char not in keep}
    for character in found:
        # A byte that is no UTF-8 has no form in JSON: what Go prints, and readers take, is the replacement character.
        code = 0xFFFD if 0xD800 <= ord(character) < 0xE000 else ord(character)
        text = text.replace(character, f"\\u{code:04x}")
    return text


def size(count: float) -> str:
    """Return bytes as Docker prints them: 7.83MB, 1.2GB (powers of 1000, three digits)."""
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    power = 0
    while count >= 999.5 and power < len(units) - 1:
        count /= 1000
        power += 1
    return f"{count:.3g}{units[power]}"


def duration(seconds: float) -> str:
    """Return a length of time as Docker prints it: 5 seconds, About an hour, 3 weeks."""
    whole = int(max(seconds, 0))
    minutes, hours = whole // 60, (whole + 1800) // 3600
    if whole < 1:
        return "Less than a second"
    if minutes < 1:
        return _few(whole, "second")
    if minutes < 60:
        return _few(minutes, "minute")
    for limit, length, unit in ((48, 1, "hour"), (336, 24, "day"), (1440, 168, "week"), (17520, 720, "month")):
        if hours < limit:
            return _few(hours // length, unit)
    return f"{hours // 8760} years"


def _few(count: int, unit: str) -> str:
    if count == 1 and unit in ("minute", "hour"):
        return "About a minute" if unit == "minute" else "About an hour"
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def short_id(identifier: str) -> str:
    """Return the 12 digits that people see of an ID or a digest."""
    return identifier.rpartition(":")[2][:12]


def local_time(seconds: float) -> str:
    """Return a time as Docker's CreatedAt: 2024-05-01 12:00:00 +0200 CEST."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def rfc3339(nanoseconds: int) -> str:
    """Return a time in UTC with nanoseconds, as `logs --timestamps` shows it."""
    import time

    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def ellipsis(text: str, width: int) -> str:
    """Return `text`, cut to `width` characters with a … where it is longer."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def table(rows: Sequence[Sequence[str]], keep: str = "") -> None:
    """Write rows as columns three spaces apart and at least ten wide, as Docker does; the last column is not padded."""
    cells = [row if "".join(row).isprintable() else [safe(cell, keep) for cell in row] for row in rows]
    sizes = [[_width(cell) for cell in row] for row in cells]
    columns = max(map(len, cells), default=0)
    widths = [max([10, *(size[i] + 3 for size in sizes if i < len(size))]) for i in range(columns)]
    for row, size in zip(cells, sizes, strict=True):
        padded = [cell + " " * (widths[i] - size[i]) for i, cell in enumerate(row[:-1])]
        sys.stdout.write("".join((*padded, *row[-1:])) + "\n")


def listing(rows: Iterable[Mapping[str, Any]], headers: Mapping[str, Any], columns: Sequence[str], form: str | None) -> None:
    """Write rows (a value by field name, a function where a template may give it arguments) as --format asks: `table`, `json`,
    `table TEMPLATE` or TEMPLATE.

    Raises InvalidValue or Unsupported for a template that cannot be read.
    """
    if form == "json":
        for row in rows:
            sys.stdout.write(json_line({name: value for name, value in row.items() if not callable(value)}) + "\n")
        return
    if form is None or form.split() == ["table"]:
        table([[headers[column] for column in columns], *([str(row[column]) for column in columns] for row in rows)])
        return
    from cratebox.cli import template

    is_table = form.startswith("table ")
    wanted = template.parse(template.unescape(form.removeprefix("table ").strip() if is_table else form))
    if is_table:
        lines = [wanted.show(headers, "", headers=True), *(wanted.show(row, "") for row in rows)]
        table([text.split("\t") for text in lines], keep="\n")
    else:
        for row in rows:
            line(wanted.show(row), keep="\n\t")
