"""crate artifact pull: files from a registry."""

from __future__ import annotations

from cratebox.cli.commands import PullProgress, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access
from cratebox.cli.render import line

COMMAND = Command(
    name="pull",
    arguments="NAME[:TAG|@DIGEST]",
    summary="Fetch the files of an artifact",
    flags=(
        Flag("output", "o", "DIRECTORY", "where to, if not here", default=".", completes="directory"),
        Flag("force", "f", help="in place of files that are there"),
        Flag("dotfiles", help="also files whose name begins with a dot, which a shell or another program may obey"),
        Flag("quiet", "q", help="print the files alone"),
        *FLAGS,
    ),
    least=1,
    most=1,
    description="""Write the files of an artifact into a directory, under the names that they have in it: all of them or none,
each checked against its digest. A name that leads out of the directory is refused, and without --dotfiles one that begins with
a dot.""",
    examples=(("crate artifact pull -o reports registry.lan:5000/reports:1", "into a directory of their own"),),
    exit_codes=(("0", "the files are there"), ("125", "they are not; nothing was written")),
)


def main(words: Words) -> int:
    """Fetch them, and print where they are."""
    progress = PullProgress(words.yes("quiet"), to_stdout=True)
    try:
        paths = open_engine(words, access(words)).artifacts.pull(
            words.arguments[0],
            str(words.text("output")),
            force=words.yes("force"),
            dotfiles=words.yes("dotfiles"),
            progress=progress,
        )
    finally:
        progress.close()
    for path in paths:
        line(path)
    return 0
