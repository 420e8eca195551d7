"""crate artifact rm: delete artifacts in their registry."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Words
from cratebox.cli.registry_flags import FLAGS, access

COMMAND = Command(
    name="rm",
    arguments="NAME[:TAG|@DIGEST] [NAME...]",
    summary="Delete artifacts in their registry",
    flags=FLAGS,
    least=1,
    most=None,
    description="""Delete an artifact in its registry, with all of its tags. Many registries allow that to few people, or not at
all. An image is refused.""",
    examples=(("crate artifact rm registry.lan:5000/reports:1", "delete one"),),
    exit_codes=(("0", "all are gone"), ("1", "one could not be deleted; the others were")),
)


def main(words: Words) -> int:
    """Delete each, and print its digest."""
    artifacts = open_engine(words, access(words)).artifacts
    return for_each(words, lambda name: (f"Deleted: {artifacts.remove(name)}",))
