"""crate artifact push: files to a registry."""

from __future__ import annotations

from cratebox.cli.commands import PullProgress, open_engine
from cratebox.cli.manifest_flags import given_annotations
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access
from cratebox.cli.render import line
from cratebox.engine.artifacts import DEFAULT_TYPE

COMMAND = Command(
    name="push",
    arguments="NAME[:TAG] FILE[:TYPE] [FILE[:TYPE]...]",
    summary="Send files to a registry as an artifact",
    flags=(
        Flag("artifact-type", metavar="TYPE", help="what the artifact is, a media type", default=DEFAULT_TYPE),
        Flag("annotation", metavar="KEY=VALUE", help="keep a word with it", repeat=True),
        Flag("subject", metavar="NAME|TAG|DIGEST", help="what it speaks of: an image or artifact in the same repository"),
        Flag("quiet", "q", help="print the digest alone"),
        *FLAGS,
    ),
    least=2,
    most=None,
    completes="file",
    description="""Send files to a registry, which keeps them by their names. Each may have a media type after a colon. With
--subject and without a tag the artifact is found by what it speaks of (`crate artifact ls`) and by its digest; else :latest is
meant.""",
    examples=(
        ("crate artifact push registry.lan:5000/reports:1 report.json:application/json", "one file"),
        (
            "crate artifact push --artifact-type example/sbom --subject registry.lan:5000/app:1.0 registry.lan:5000/app sbom.json",
            "a list of parts that belongs to an image",
        ),
    ),
    exit_codes=(("0", "the registry has it"), ("125", "it could not be sent")),
)


def main(words: Words) -> int:
    """Send them."""
    name, *files = words.arguments
    quiet = words.yes("quiet")
    progress = PullProgress(quiet, to_stdout=True, doing="Pushing")
    try:
        made = open_engine(words, access(words)).artifacts.push(
            name,
            [_split(text) for text in files],
            str(words.text("artifact-type")),
            given_annotations(words),
            words.text("subject"),
            progress,
        )
    finally:
        progress.close()
    line(made.digest if quiet else f"Digest: {made.digest}")
    return 0


def _split(text: str) -> tuple[str, str]:
    """A type has a slash in it, and comes after the last colon: what else has a colon is a file's name."""
    path, colon, media_type = text.rpartition(":")
    return (path, media_type) if colon and path and "/" in media_type and not media_type.startswith("/") else (text, "")
