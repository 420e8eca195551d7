"""crate push: send an image to a registry."""

from __future__ import annotations

import sys

from cratebox.cli.commands import PullProgress, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access
from cratebox.cli.render import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.images import Images
    from cratebox.image.push import Pushed

COMMAND = Command(
    name="push",
    arguments="IMAGE [DESTINATION]",
    summary="Send an image to a registry",
    flags=(
        Flag("all-tags", "a", help="all tags that the repository has in the store"),
        Flag(
            "compression-format",
            metavar="FORMAT",
            help="gzip or zstd: send all layers so; else they go as they lie, plain ones as gzip",
            words=("gzip", "zstd"),
        ),
        Flag("platform", metavar="OS/ARCH[/VARIANT]", help="insist that the image is for this one"),
        Flag("quiet", "q", help="print the full name alone"),
        *FLAGS,
    ),
    least=1,
    most=2,
    completes="image",
    later=("disable-content-trust", "force-compression", "compression-level"),
    description="""Send an image to the registry of its name, or to DESTINATION: another name, with a tag or with the digest of
the image. The bytes are those that lie in the store, so that a digest stays what it was. Layers that have come as plain tars,
as an archive of docker save or podman save has them, are packed with gzip on their way: the image's ID stays, the digest in the
registry is another one. What the registry has is not sent: neither what is in the repository already, nor what one beside it
has that the store knows of. What was cut off goes on where the registry allows that.

Log in with `crate login`; credentials of docker login and podman login are found as well.""",
    examples=(
        ("crate tag app registry.lan:5000/team/app:1.0", "first a name that says where to"),
        ("crate push registry.lan:5000/team/app:1.0", "then send it"),
        ("crate push app registry.lan:5000/team/app:1.0", "both at once"),
        ("crate push --all-tags registry.lan:5000/team/app", "every tag of it"),
        ("crate push --compression-format zstd app registry.lan:5000/team/app", "smaller, and faster to pull"),
    ),
    exit_codes=(("0", "the registry has it"), ("125", "it could not be sent; no name in the registry has changed")),
)


def main(words: Words) -> int:
    """Send it, and say what the registry has now."""
    images = open_engine(words, access(words)).images
    if words.yes("all-tags"):
        if len(words.arguments) > 1:
            raise words.wrong("--all-tags takes no DESTINATION")
        pairs = [(each.familiar, each.familiar) for each in images.names_of(words.arguments[0])]
    else:
        pairs = [(words.arguments[0], words.arguments[-1])]
    for name, destination in pairs:
        _push(words, images, name, destination)
    return 0


def _push(words: Words, images: Images, name: str, destination: str) -> None:
    from cratebox.image import reference as references

    target = references.parse(destination)
    quiet = words.yes("quiet")
    if not quiet:
        line(f"The push refers to repository [{target.name}]")
        sys.stdout.flush()
    progress = PullProgress(quiet, to_stdout=True, doing="Pushing")
    try:
        pushed: Pushed = images.push(
            name, destination, platform=words.text("platform"), progress=progress, compression=words.text("compression-format")
        )
    finally:
        progress.close()
    line(str(target) if quiet else f"{target.tag or target.digest}: digest: {pushed.digest} size: {pushed.size}")
