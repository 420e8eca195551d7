"""crate-oci delete."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="delete",
    arguments=ID,
    summary="Remove what a stopped container holds",
    flags=(
        Flag("force", "f", help="kill it first; one that is not there is no error"),
        Flag("regex", "r", help="CONTAINER-ID is a regular expression: all containers whose whole ID it matches"),
    ),
    least=1,
    most=1,
    completes="container",
    description="Remove the cgroup and the state of a container that has stopped or was never started.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Remove it."""
    name = words.arguments[0]
    if words.yes("regex"):
        from cratebox.cli.oci.matching import each

        return each(who, name, lambda one: _delete(who, one, force=words.yes("force")))
    _delete(who, name, force=words.yes("force"))
    return 0


def _delete(who: Caller, name: str, *, force: bool) -> None:
    from cratebox.runtime import lifecycle

    try:
        lifecycle.delete(who.root, name, force=force)
    except NotFound:
        if not force:
            raise
