"""crate start: a container that was made before."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_detach_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.containers import Containers

COMMAND = Command(
    name="start",
    arguments="CONTAINER [CONTAINER...] | CONTAINER [--] COMMAND [ARG...]",
    summary="Start containers that were made before",
    flags=(
        Flag("attach", "a", help="stay with it and end with its exit code"),
        Flag("interactive", "i", help="stay with it and pass standard input on"),
        Flag("detach-keys", metavar="KEYS", help="what to type to leave it running (ctrl-p,ctrl-q)"),
    ),
    least=1,
    most=None,
    stops=True,
    completes="container",
    description="""Start containers by their name, their ID or a beginning of it that no other has. They run on by themselves,
and what was typed for each is printed, also for one that runs already.

Words that follow the first container are containers as well where the first of them is the name of one, its ID, or 12 digits of
that; otherwise, and after --, they are a command, which stands in place of the image's CMD for this start and the restarts that
follow from it. With a command, with -a or with -i, crate stays until the container ends, and ends with its exit code.""",
    examples=(
        ("crate start web", "leave it running; `crate logs web` shows what it says"),
        ("crate start web db", "two at once"),
        ("crate start web ls -l /", "run another command in it, once"),
        ("crate start web -- db", "the same, where there is a container of the command's name"),
    ),
    exit_codes=(
        ("0", "it was started, or runs already"),
        ("1", "one of several could not be started; the others were"),
        ("125", "crate itself could not do it"),
        ("126, 127", "the command cannot be executed, is not there"),
        ("otherwise", "with COMMAND, -a or -i: the command's own exit code"),
    ),
)


def main(words: Words) -> int:
    """Start the containers; return the exit code of one where crate stays with it."""
    reference, *command = words.arguments
    containers = open_engine(words).containers
    if command[:1] == ["--"]:
        del command[0]
        if not command:
            raise words.wrong("-- wants a COMMAND behind it")
    elif command and containers.are_named(command):
        return _several(words, containers)
    interactive = words.yes("interactive")
    keys = words.text("detach-keys")
    code = containers.start(
        reference,
        command=tuple(command),
        attach=words.yes("attach") or interactive or bool(command),
        interactive=interactive,
        detach_keys=None if keys is None else parse_detach_keys(keys),
    )
    if code is None:
        print(reference)
    return code or 0


def _several(words: Words, containers: Containers) -> int:
    if words.yes("attach") or words.yes("interactive"):
        raise words.wrong("crate can stay with one container, not with several", "leave out -a and -i, or start one")

    def start(reference: str) -> tuple[str]:
        containers.start(reference)
        return (reference,)

    return for_each(words, start)
