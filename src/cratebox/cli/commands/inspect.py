"""crate inspect: all that is known of a container, an image, a network, a volume or a secret."""

from __future__ import annotations

from cratebox.cli.commands import documents, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.words import shown
from cratebox.errors import NotFound, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.engine.engine import Engine

KINDS = ("container", "image", "network", "volume", "secret")  # in the order in which a name is looked for, Docker's

COMMAND = Command(
    name="inspect",
    arguments="NAME|ID [NAME|ID...]",
    summary="Show all that is known of containers, images and others",
    flags=(
        Flag("format", "f", "FORMAT", "json, or a template as '{{.State.Status}}'"),
        Flag("type", metavar="|".join(KINDS), help="look among these alone", words=KINDS),
        Flag("size", "s", help="measure what containers have written: SizeRw and SizeRootFs, in bytes"),
    ),
    least=1,
    most=None,
    completes="object",
    description="""Print what is known as a JSON array, with Docker's names of fields. A name is looked for among the containers
first, then among the images, the networks, the volumes, the secrets (of which all is told but what is in them). With --format a
line for each, from a template of Go: fields, range, if, with, variables, pipes, index, len, eq, printf and the like, and
Docker's json, join, split, title, lower, upper, pad and truncate.""",
    examples=(
        ("crate inspect -f '{{.State.ExitCode}}' web", "one field"),
        ("crate inspect -f '{{json .Config.Env}}' alpine", "a part, as JSON"),
    ),
    exit_codes=(("0", "all were found"), ("1", "one was not; the others are shown")),
)


def main(words: Words) -> int:
    """Print what there is."""
    engine, kind, size = open_engine(words), words.text("type"), words.yes("size")
    return documents(words, lambda name: _look(engine, name, kind, size))


def _look(engine: Engine, name: str, kind: str | None, size: bool) -> dict[str, Any]:
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "container": lambda: engine.containers.inspect(name, size),
        "image": lambda: engine.images.inspect(name),
        "network": lambda: engine.networks.inspect(name),
        "volume": lambda: engine.volumes.inspect(name),
        "secret": lambda: engine.secrets.inspect(name),
    }
    if kind:
        return kinds[kind]()
    damage = None
    for look in kinds.values():
        try:
            return look()
        except NotFound:
            continue
        except StorageError as error:  # of a record, which need not be that of what is looked for
            damage = damage or error
    if damage:
        raise damage
    raise NotFound(
        f"there is no container, image, network, volume or secret {shown(name)}",
        "`crate ps -a`, `crate images`, `crate network ls`, `crate volume ls` and `crate secret ls` list them",
    )
