"""crate exec: one more process in a container that runs."""

from __future__ import annotations

import os

from cratebox.cli.commands import EXIT_CODES, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import InvalidValue, UsageError

COMMAND = Command(
    name="exec",
    arguments="CONTAINER COMMAND [ARG...]",
    summary="Run another command in a container that runs",
    flags=(
        Flag("detach", "d", help="do not stay with it"),
        Flag("detach-keys", metavar="KEYS", help="what to type to leave it running (ctrl-p,ctrl-q)"),
        Flag("env", "e", "KEY=VALUE", "set a variable; KEY alone passes on the value it has here", repeat=True),
        Flag("env-file", metavar="FILE", help="read variables, one a line", repeat=True, completes="file"),
        Flag("interactive", "i", help="pass standard input on"),
        Flag("preserve-fds", metavar="N", help="pass on the descriptors 3 to 2+N as they are", default="0"),
        Flag("privileged", help="with all capabilities"),
        Flag("tty", "t", help="give it a terminal"),
        Flag("user", "u", "USER[:GROUP]", "run as this user, by name or number"),
        Flag("workdir", "w", "DIR", "the directory it starts in"),
    ),
    least=2,
    most=None,
    stops=True,
    completes="container",
    description="""Run COMMAND in a container that runs, with the container's variables, directory and user where nothing else
is said, and end with its exit code. Signals are passed on, so that ctrl-c ends the command and not just what shows it; three of
them let go of one that does not listen. Where crate itself is killed, the command goes on.""",
    examples=(
        ("crate exec -it web sh", "a shell"),
        ("crate exec -u nobody -e LANG=C web env", "as somebody else, with another variable"),
        ("tar c . | crate exec -i web tar x -C /srv", "with standard input"),
    ),
    exit_codes=EXIT_CODES,
)


def main(words: Words) -> int:
    """Run the command; return its exit code, or 0 once it runs detached."""
    from cratebox.engine.execution import Wanted, execute

    reference, *command = words.arguments
    wanted = Wanted(
        command=tuple(command),
        user=words.text("user") or "",
        env=_environment(words),
        working_dir=_working_dir(words.text("workdir") or ""),
        tty=words.yes("tty"),
        interactive=words.yes("interactive") and not words.yes("detach"),
        detach=words.yes("detach"),
        privileged=words.yes("privileged"),
        preserve_fds=words.number("preserve-fds") or 0,
    )
    keys = words.text("detach-keys")
    if keys is not None:
        from cratebox.engine.config import parse_detach_keys

        wanted = wanted.replace(detach_keys=parse_detach_keys(keys))
    if wanted.tty and wanted.interactive and not os.isatty(0):
        raise UsageError("standard input is not a terminal", "leave out -t")
    return execute(open_engine(words).trust(), reference, wanted)  # `containers` would import what all the other verbs need


def _environment(words: Words) -> tuple[str, ...]:
    if not words.given("env") and not words.given("env-file"):
        return ()
    from cratebox.cli.commands.create import environment

    return environment(words)


def _working_dir(text: str) -> str:
    if text and (not text.startswith("/") or "\0" in text):
        raise InvalidValue(f"the working directory {text}: it is not absolute", "--workdir begins with /")
    return text
