"""crate image tree: the layers of an image, and what is built upon it."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cratebox.engine.image_tree import Branch, TreeLayer
    from cratebox.image.store import StoredImage

COMMAND = Command(
    name="tree",
    arguments="IMAGE",
    summary="Show an image's layers, and who shares them",
    flags=(Flag("whatrequires", help="the images that are built upon it instead"),),
    least=1,
    most=1,
    completes="image",
    description="""Show the layers of an image, the lowest first: the digest and the size of each, the images whose uppermost
layer it is, and the other images that have it too. What images share is on the disk once. With --whatrequires show the images
that have all of its layers and more, each below the one that it is built upon.""",
    examples=(
        ("crate image tree debian:12", "its layers"),
        ("crate image tree --whatrequires debian:12", "what was built upon it"),
    ),
    exit_codes=(("0", "it was shown"), ("125", "there is no such image")),
)


def main(words: Words) -> int:
    """Print the tree."""
    images, name = open_engine(words).images, words.arguments[0]
    image = images.get(name)
    render.line(f"Image ID: {render.short_id(image.id)}")
    render.line(f"Tags:     [{_names((image,))}]")
    render.line(f"Size:     {render.size(image.size)}")
    if words.yes("whatrequires"):
        render.line("Images built upon it")
        lines = _branches(images.built_upon(name).children)
    else:
        render.line("Image Layers")
        lines = _layers(images.layers(name))
    for text in lines:
        render.line(text)
    return 0


def _layers(layers: Iterable[TreeLayer]) -> Iterator[str]:
    found = list(layers)
    for layer in found:
        text = f"ID: {render.short_id(layer.diff_id)} Size: {render.size(layer.size)}"
        if layer.top_of:
            text += f" Top Layer of: [{_names(layer.top_of)}]"
        if layer.shared:
            text += f" Also in: [{_names(layer.shared)}]"
        yield ("└── " if layer is found[-1] else "├── ") + text


def _branches(children: tuple[Branch, ...], before: str = "") -> Iterator[str]:
    for child in children:
        last = child is children[-1]
        image = child.image
        named = f" Tags: [{_names((image,))}]" if image.names else ""
        yield f"{before}{'└── ' if last else '├── '}ID: {render.short_id(image.id)} Size: {render.size(image.size)}{named}"
        yield from _branches(child.children, before + ("    " if last else "│   "))


def _names(images: Iterable[StoredImage]) -> str:
    """The names of images, and the short ID of one that has none."""
    return " ".join(name for image in images for name in image.names or (render.short_id(image.id),))
