"""Flags and arguments, read by Docker's rules from a table each command has. (argparse costs 9 ms to import.)

--flag value, --flag=value, -f value, -fvalue, -f=value; -itd is -i -t -d; a flag without a value takes one only after =,
as in --rm=false; -- ends the flags. Where a command `stops`, so does its first argument: what follows IMAGE belongs to the
container's command. Help texts and shell completion are made from the same tables, so they cannot drift.
"""

from __future__ import annotations

import sys

from cratebox.engine.words import boolean, number, shown
from cratebox.errors import Unsupported, UsageError
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Protocol

    class FlagModule(Protocol):
        """A module of `Command.more`."""

        FLAGS: tuple[Flag, ...]
        wished: Callable[[Words, Any], Any]


class Flag(Record):
    """One flag. Without a `metavar` it is yes or no; with one, it takes a value.

    `words`: the only values it takes. `completes`: what a shell offers for the value (image, container, file, directory).
    `alias`: a second long name, not shown. `group`: the heading it stands below in the help.
    """

    name: str
    short: str = ""
    metavar: str | None = None
    help: str = ""
    repeat: bool = False
    default: str | None = None
    hidden: bool = False
    alias: str = ""
    words: tuple[str, ...] = ()
    completes: str = ""
    group: str = ""

    @property
    def written(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Command(Record):
    """One verb: what it takes, and what its manual page says.

    `least`, `most`: how many arguments (None: any number). `stops`: the first argument ends the flags. `completes`: what a
    shell offers for an argument. `later`: flags of Docker's that crate does not have yet, as "name" or "n/name". `more`:
    modules whose FLAGS belong to the command as well; one is imported when a flag is typed that stands in none before it.
    """

    name: str
    arguments: str
    summary: str
    flags: tuple[Flag, ...] = ()
    least: int = 0
    most: int | None = 0
    stops: bool = False
    completes: str = ""
    description: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    exit_codes: tuple[tuple[str, str], ...] = ()
    later: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    @property
    def all_flags(self) -> tuple[Flag, ...]:
        """The flags of the command and of the modules in `more`."""
        return (*self.flags, *(flag for name in self.more for flag in module(name).FLAGS))

    def flag(self, name: str) -> Flag | None:
        """Return the flag of this long name or alias."""
        return self._find(lambda flag: name in (flag.name, flag.alias) and name != "")

    def short(self, letter: str) -> Flag | None:
        """Return the flag of this letter."""
        return self._find(lambda flag: flag.short == letter)

    def _find(self, wanted: Callable[[Flag], bool]) -> Flag | None:
        for flag in self.flags:
            if wanted(flag):
                return flag
        for name in self.more:
            for flag in module(name).FLAGS:
                if wanted(flag):
                    return flag
        return None


def module(name: str) -> FlagModule:
    """Import the module of that full name."""
    return __import__(name, fromlist=["FLAGS"])


class Words:
    """What was typed: the values of the flags, the arguments, and where state lives (the global --root and --state)."""

    def __init__(self, command: Command, verb: str, program: str) -> None:
        self.command = command
        self.verb = verb
        self.program = program
        self.arguments: tuple[str, ...] = ()
        self.help = False
        self.root: str | None = None
        self.state: str | None = None
        self._values: dict[str, list[str]] = {}

    def put(self, flag: Flag, value: str) -> None:
        """Keep a value; the last one counts, save for a flag that repeats.
        Raises UsageError or InvalidValue for one it does not take.
        """
        if flag.metavar is None:
            value = "true" if boolean(value, f"--{flag.name}") else ""
        if flag.words and value not in flag.words:
            raise UsageError(f"--{flag.name} cannot be {shown(value)}", f"one of {', '.join(flag.words)}")
        if flag.repeat:
            self._values.setdefault(flag.name, []).append(value)
        else:
            self._values[flag.name] = [value]

    def text(self, name: str) -> str | None:
        """Return the value of a flag, its default where it was not given."""
        values = self._values.get(name)
        return values[-1] if values else self._flag(name).default

    def number(self, name: str, least: int = 0) -> int | None:
        """Return the value of a flag as a whole number of at least `least`. Raises InvalidValue."""
        text = self.text(name)
        if text is None:
            return None
        return number(text, f"--{name}", least)

    def yes(self, name: str) -> bool:
        """Return whether a flag without a value was given."""
        return bool(self.text(name))

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of a flag that repeats, in order."""
        assert self._flag(name).repeat
        return tuple(self._values.get(name, ()))

    def given(self, name: str) -> bool:
        """Return whether a flag was written at all."""
        return name in self._values

    @property
    def modules(self) -> list[FlagModule]:
        """The modules of `more` that may have a flag which was typed: what was not imported has none."""
        return [module(name) for name in self.command.more if name in sys.modules]

    def _flag(self, name: str) -> Flag:
        flag = self.command.flag(name)
        assert flag is not None, name
        return flag

    def see(self) -> str:
        """Return where the command is described."""
        return f"see {self.program} {self.verb + ' ' if self.verb else ''}--help"

    def wrong(self, message: str, hint: str | None = None) -> UsageError:
        """Return the error of a wrong command line; it ends with where the right one is described."""
        if hint:
            return UsageError(message, f"{hint}{'' if hint.endswith('?') else ';'} {self.see()}")
        return UsageError(message, self.see())


def parse(command: Command, argv: Sequence[str], verb: str | None = None, program: str = "crate") -> Words:
    """Read `argv` (what follows the verb). Raises UsageError, and Unsupported for a flag that is not there yet.

    Where --help is among the flags, nothing else is checked.
    """
    words = Words(command, command.name if verb is None else verb, program)
    rest: list[str] = list(argv)
    arguments: list[str] = []
    while rest and not words.help:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if word.startswith("--"):
            _long(words, word[2:], rest)
        elif word.startswith("-") and word != "-":
            _short(words, word[1:], rest)
        elif command.stops:
            arguments += [word, *rest]
            break
        else:
            arguments.append(word)
    words.arguments = tuple(arguments)
    if not words.help:
        _count(words, len(arguments))
    return words


def _long(words: Words, body: str, rest: list[str]) -> None:
    name, equals, value = body.partition("=")
    flag = words.command.flag(name)
    if flag is None:
        if name == "help":
            words.help = True
            return
        raise _unknown(words, f"--{name}")
    if not equals:
        value = _value(words, flag, rest)
    words.put(flag, value)


def _value(words: Words, flag: Flag, rest: list[str]) -> str:
    if flag.metavar is None:
        return "true"
    if not rest:
        raise words.wrong(f"{flag.written} wants a value", f"--{flag.name} {flag.metavar}")
    return rest.pop(0)


def _short(words: Words, letters: str, rest: list[str]) -> None:
    """Read -itd, -eK=V, -e K=V, -t=false: after a letter that takes a value, the rest of the word is that value."""
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = words.command.short(letter)
        if flag is None:
            if letter == "h":
                words.help = True
                return
            raise _unknown(words, f"-{letter}")
        if letters.startswith("="):
            words.put(flag, letters[1:])
            return
        if flag.metavar is not None and letters:
            words.put(flag, letters)
            return
        words.put(flag, _value(words, flag, rest))


def _unknown(words: Words, written: str) -> UsageError | Unsupported:
    for entry in words.command.later:
        letter, _, name = entry.rpartition("/")
        if written in (f"--{name}", f"-{letter}"):
            return Unsupported(f"--{name} is not there yet", words.see())
    hint = None
    if written.startswith("--"):
        import difflib

        known = [flag.name for flag in words.command.all_flags if not flag.hidden]
        near = [f"--{name}" for name in difflib.get_close_matches(written[2:], known, 2, 0.6)]
        hint = f"did you mean {' or '.join(near)}?" if near else None
    return words.wrong(f"unknown flag {shown(written)}", hint)


def _count(words: Words, count: int) -> None:
    command = words.command
    if command.least <= count and (command.most is None or count <= command.most):
        return
    if command.most == 0:
        wrong = f"takes no arguments, not {shown(words.arguments[0])}"
    elif count < command.least:
        wrong = f"{_first(command.arguments, count)} is missing"
    else:
        wrong = f"takes at most {command.most} argument{'s' if command.most != 1 else ''}, not {count}"
    raise words.wrong(wrong)


def _first(arguments: str, index: int) -> str:
    """Return "an IMAGE" for 0 of `IMAGE [COMMAND] [ARG...]`."""
    word = arguments.split(" ")[index]
    return ("an " if word[0] in "AEIO" else "a ") + word


def visible(flags: Iterable[Flag]) -> tuple[Flag, ...]:
    """Return the flags that help and completion show."""
    return tuple(flag for flag in flags if not flag.hidden)
