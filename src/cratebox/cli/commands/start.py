"""crate start: a container that was made before."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_detach_keys

COMMAND = Command(
    name="start",
    arguments="CONTAINER [COMMAND] [ARG...]",
    summary="Start a container that was made before",
    flags=(
        Flag("attach", "a", help="stay with it and end with its exit code"),
        Flag("interactive", "i", help="stay with it and pass standard input on"),
        Flag("detach-keys", metavar="KEYS", help="what to type to leave it running (ctrl-p,ctrl-q)"),
    ),
    least=1,
    most=None,
    stops=True,
    completes="container",
    description="""Start a container by its name, its ID or a beginning of it that no other has. It runs on by itself, and what
was typed for it is printed. With COMMAND, which stands in place of the image's CMD for this one start, with -a or with -i,
crate stays until it ends, and ends with its exit code.""",
    examples=(
        ("crate start web", "leave it running; `crate logs web` shows what it says"),
        ("crate start web ls -l /", "run another command in it, once"),
    ),
    exit_codes=(
        ("0", "it was started"),
        ("125", "crate itself could not do it"),
        ("126, 127", "the command cannot be executed, is not there"),
        ("otherwise", "with COMMAND, -a or -i: the command's own exit code"),
    ),
)


def main(words: Words) -> int:
    """Start the container; return its exit code where crate stays with it."""
    reference, *command = words.arguments
    interactive = words.yes("interactive")
    keys = words.text("detach-keys")
    code = open_engine(words).containers.start(
        reference,
        command=tuple(command),
        attach=words.yes("attach") or interactive or bool(command),
        interactive=interactive,
        detach_keys=None if keys is None else parse_detach_keys(keys),
    )
    if code is None:
        print(reference)
    return code or 0
