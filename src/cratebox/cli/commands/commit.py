"""crate commit: an image of what a container has become."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="commit",
    arguments="CONTAINER [REPOSITORY[:TAG]]",
    summary="Make an image of a container's changes",
    flags=(
        Flag("author", "a", "NAME", "who made it"),
        Flag("change", "c", "INSTRUCTION", "change how it is run, as a Dockerfile does: 'CMD [\"httpd\"]'", repeat=True),
        Flag("format", "f", "FORM", "of its manifest: oci (default) or docker", words=("oci", "docker"), default="oci"),
        Flag("message", "m", "TEXT", "why: a comment in its history"),
        Flag("pause", "p", help="hold the container's processes meanwhile; the default where that is possible"),
    ),
    least=1,
    most=2,
    completes="container",
    description="""Make an image of what a container, running or not, has become: the layers of its image and one with its
changes, which crate diff lists. What is mounted in it is not part of that. It is run as the container was, save for what -c
changes: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR.""",
    examples=(
        ("crate commit web site:2", "an image that runs as the container does"),
        ("crate commit -c 'ENV DEBUG=1' -c 'USER www' web", "changed, and without a name"),
        ("crate commit --pause=false web", "let it work on: files may be of different moments"),
    ),
    exit_codes=(("0", "the image's ID was printed"), ("125", "there is no image: the message says why")),
)


def main(words: Words) -> int:
    """Make the image and print its ID."""
    from cratebox.engine.committing import Wish

    image = open_engine(words).containers.commit(
        words.arguments[0],
        Wish(
            name=words.arguments[1] if len(words.arguments) > 1 else "",
            author=words.text("author") or "",
            message=words.text("message") or "",
            changes=words.all("change"),
            pause=words.yes("pause") if words.given("pause") else None,
            docker=words.text("format") == "docker",
        ),
    )
    render.line(image.id)
    return 0
