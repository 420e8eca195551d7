"""The manual pages, made from the tables that the commands are read with."""

from __future__ import annotations

import os
import textwrap

from cratebox.cli import main as crate
from cratebox.cli import verbs
from cratebox.cli.options import Command, Flag, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_INDENT = "  "


def page(verb: Sequence[str]) -> str:
    """Return the page of a verb (["run"], ["image", "ls"]), of a group, or of crate. Raises UsageError, Unsupported."""
    if not verb:
        return _overview()
    typed, module, _, _ = crate.resolve(list(verb))
    return describe(crate.load(module).COMMAND, "crate " + typed) if module else _group(typed)


def _width() -> int:
    try:
        columns = os.get_terminal_size(1).columns
    except OSError:
        return 80
    return min(max(columns, 50), 100)


def _filled(text: str, indent: str = _INDENT) -> str:
    """Fill each paragraph to the terminal's width."""
    paragraphs = [
        textwrap.fill(" ".join(part.split()), _width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        for part in text.split("\n\n")
    ]
    return "\n\n".join(paragraphs) + "\n"


def _pairs(pairs: Sequence[tuple[str, str]], column: int = 26) -> str:
    """Return terms and what they mean, side by side; a term that is too long gets a line of its own."""
    lines = []
    for term, meaning in pairs:
        body = textwrap.wrap(meaning, _width() - column, break_on_hyphens=False) or [""]
        head = _INDENT + term
        if len(head) > column - 2:
            lines.append(head)
        else:
            lines.append(head.ljust(column) + body.pop(0))
        lines += [" " * column + text for text in body]
    return "".join(text.rstrip() + "\n" for text in lines)


def _flag_pair(flag: Flag) -> tuple[str, str]:
    letter = f"-{flag.short}, " if flag.short else "    "
    term = f"{letter}--{flag.name}" + (f" {flag.metavar}" if flag.metavar else "")
    notes = ["may be repeated"] if flag.repeat else []
    if flag.metavar and flag.default is not None and flag.default not in flag.help:
        notes.append(f"default {flag.default}")
    return term, flag.help + (f" ({'; '.join(notes)})" if notes else "")


def _flags(flags: Sequence[Flag]) -> str:
    text = ""
    for group in dict.fromkeys(flag.group for flag in flags):
        own = [flag for flag in flags if flag.group == group]
        text += f"\n{group.upper() or 'FLAGS'}\n" + _pairs([_flag_pair(flag) for flag in own])
    return text


def _ending(command: Command) -> str:
    text = ""
    if command.examples:
        text += "\nEXAMPLES\n" + "".join(f"{_INDENT}{line}\n{_INDENT}    {why}\n" for line, why in command.examples)
    if command.exit_codes:
        text += "\nEXIT STATUS\n" + _pairs(command.exit_codes, 16)
    return text


def describe(command: Command, name: str) -> str:
    """Return the page of one command; `name` is how it is called ("crate image ls")."""
    flags = visible(command.all_flags)
    usage = " ".join(part for part in (name, "[FLAGS]" if flags else "", command.arguments) if part)
    text = f"{name} - {command.summary[0].lower()}{command.summary[1:]}\n\nUSAGE\n{_INDENT}{usage}\n"
    if command.description:
        text += "\nDESCRIPTION\n" + _filled(command.description)
    return text + _flags(flags) + _ending(command)


def _overview() -> str:
    command = crate.GLOBAL
    text = f"crate - {command.summary}\n\nUSAGE\n{_INDENT}crate [FLAGS] {command.arguments}\n"
    for heading, names in verbs.HEADINGS.items():
        text += f"\n{heading.upper()}\n" + _pairs([(verb, crate.load(verb).COMMAND.summary) for verb in names], 16)
    text += "\nCOMMANDS OF TWO WORDS\n"
    text += _pairs([(f"{group} COMMAND", ", ".join(names)) for group, names in verbs.groups().items()])
    text += "\nFLAGS BEFORE THE COMMAND\n" + _pairs([_flag_pair(flag) for flag in visible(command.all_flags)])
    return text + _ending(command) + "\ncrate COMMAND --help, or crate help COMMAND, tells all about one command.\n"


def _group(group: str) -> str:
    pairs = [(verb, crate.load(module).COMMAND.summary) for verb, module in verbs.groups()[group].items()]
    head = f"crate {group} - {verbs.ABOUT[group]}\n\nUSAGE\n{_INDENT}crate {group} COMMAND [ARG...]\n"
    return head + "\nCOMMANDS\n" + _pairs(pairs, 16)


def describe_runtime(command: Command, commands: Sequence[Command]) -> str:
    """Return the page of crate-oci."""
    text = f"crate-oci - {command.summary}\n\nUSAGE\n{_INDENT}crate-oci [FLAGS] {command.arguments}\n"
    text += "\nCOMMANDS\n" + _pairs([(one.name, one.summary) for one in commands], 16)
    text += "\nFLAGS BEFORE THE COMMAND\n" + _pairs([_flag_pair(flag) for flag in visible(command.all_flags)])
    return text + _ending(command)
