"""The checks that all parts of a spec's validation share: texts, numbers, paths and words out of a list.

Each raises InvalidValue of one line that names the property.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


def check_text(where: str, word: str) -> None:
    """A JSON string may be one that no system call takes: half of a surrogate pair, or with a NUL in it."""
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        raise InvalidValue(f"spec: {where} has {word!a}, which no file system or environment can hold") from None
    if "\0" in word:
        raise InvalidValue(f"spec: {where} has {word!a}, with a NUL in it")


def check_range(what: str, number: int | None, least: int, most: int) -> None:
    """A number that is not there is in every range."""
    if number is not None and not least <= number <= most:
        raise InvalidValue(f"spec: {what} {number}: it must be from {least} to {most}")


def check_absolute(where: str, path: str) -> None:
    """A path must be absolute, and one that the kernel takes."""
    check_text(where, path)
    if not path.startswith("/"):
        raise InvalidValue(f"spec: {where} {path!a} is not absolute")


def check_word(where: str, word: str, known: Collection[str]) -> None:
    """A word must be one of `known`."""
    if word not in known:
        raise InvalidValue(f"spec: {where} {word!a} is none of {', '.join(known)}")


def check_environment(where: str, env: tuple[str, ...]) -> None:
    """Each entry must be NAME=VALUE."""
    for entry in env:
        check_text(where, entry)
        if "=" not in entry[1:]:
            raise InvalidValue(f"spec: {where} has {entry!a}, which is not NAME=VALUE")


def parse_list(where: str, text: str, most: int) -> tuple[int, ...]:
    """Return the numbers of a list as "0-3,7" (cpuset(7), List format), in their order; none of them is over `most`."""
    numbers: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.strip(" ").partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            raise InvalidValue(f"spec: {where} {text!a} is no list of numbers as 0-3,7")
        start, end = int(first), int(last or first)
        if start > end or end > most:
            raise InvalidValue(f"spec: {where} {text!a}: {part!a} is no range of numbers from 0 to {most}")
        numbers.update(range(start, end + 1))
    return tuple(sorted(numbers))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def check_preserved(count: int) -> None:
    """Raise InvalidValue unless the `count` descriptors from 3 on are open."""
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError:  # a file that we open ourselves would get the number, and reach the container
            raise InvalidValue(f"--preserve-fds {count}: descriptor {fd} is not open") from None
