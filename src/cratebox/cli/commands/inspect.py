"""crate inspect: all that is known of a container or an image."""

from __future__ import annotations

from cratebox.cli.commands import documents, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.words import shown
from cratebox.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.engine import Engine

COMMAND = Command(
    name="inspect",
    arguments="NAME|ID [NAME|ID...]",
    summary="Show all that is known of containers and images",
    flags=(
        Flag("format", "f", "FORMAT", "json, or a template as '{{.State.Status}}'"),
        Flag("type", metavar="container|image", help="look among these alone", words=("container", "image")),
        Flag("size", "s", help="measure what containers have written: SizeRw and SizeRootFs, in bytes"),
    ),
    least=1,
    most=None,
    completes="container",
    description="""Print what is known as a JSON array, with Docker's names of fields. A name is looked for among the containers
first, then among the images. With --format a line for each, from a template of Go: fields, range, if, with, variables, pipes,
index, len, eq, printf and the like, and Docker's json, join, split, title, lower, upper, pad and truncate.""",
    examples=(
        ("crate inspect -f '{{.State.ExitCode}}' web", "one field"),
        ("crate inspect -f '{{json .Config.Env}}' alpine", "a part, as JSON"),
    ),
    exit_codes=(("0", "all were found"), ("1", "one was not; the others are shown")),
)


def main(words: Words) -> int:
    """Print what there is."""
    engine = open_engine(words)
    return documents(words, lambda name: _look(engine, name, words.text("type"), words.yes("size")))


def _look(engine: Engine, name: str, kind: str | None, size: bool) -> dict[str, Any]:
    hint: str | None = "`crate ps -a` and `crate images` list them"
    if kind != "image":
        try:
            return engine.containers.inspect(name, size)
        except NotFound as error:
            if kind == "container":
                raise
            hint = f"{error.hint}, `crate images` the images" if error.hint else hint
    try:
        return engine.images.inspect(name)
    except NotFound:
        if kind == "image":
            raise
        raise NotFound(f"there is no container and no image {shown(name)}", hint) from None
