"""crate manifest annotate: say something else of a manifest of a list."""

from __future__ import annotations

from cratebox.cli import manifest_flags, render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.image.lists import Details

COMMAND = Command(
    name="annotate",
    arguments="LIST [IMAGE]",
    summary="Say for what platform a manifest of a list is, and more of it",
    flags=(*manifest_flags.DETAILS, Flag("index", help="annotate the list itself")),
    least=1,
    most=2,
    completes="image",
    later=("subject",),
    description="""Change what a list says of one of its manifests, and print the list's new digest. The manifest is named by
its digest or a beginning of it, or by the name of an image of the store. With --index the annotations are the list's own.""",
    examples=(
        ("crate manifest annotate --arch arm --variant v7 app:1 sha256:0b5c", "it is for other processors than it says"),
        ("crate manifest annotate --index --annotation vendor=me app:1", "of the list"),
    ),
    exit_codes=(("0", "it says so now"), ("125", "there is no such list, or nothing of that name in it")),
)


def main(words: Words) -> int:
    """Change what it says."""
    lists, details = open_engine(words).manifests, manifest_flags.details(words)
    name, *images = words.arguments
    if words.yes("index"):
        if images or details != Details(annotations=details.annotations) or not details.annotations:
            raise words.wrong("--index takes --annotation alone, and no IMAGE")
        render.line(lists.annotate_list(name, dict(details.annotations)))
        return 0
    if not images:
        raise words.wrong("an IMAGE is missing")
    render.line(lists.annotate(name, images[0], details))
    return 0
