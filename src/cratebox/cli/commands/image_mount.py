"""crate image mount: the files of images at a path of this machine."""

from __future__ import annotations

import sys

from cratebox.cli import render
from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.images import Images

COMMAND = Command(
    name="mount",
    arguments="[IMAGE...]",
    summary="Mount the files of images, to be read",
    flags=(Flag("all", "a", help="all images"), Flag("format", metavar="FORMAT", help="of the list: json", words=("json",))),
    least=0,
    most=None,
    completes="image",
    description="""Mount each IMAGE read-only and print the directory where its files are (with several, a name before each).
One that is mounted already is counted once more; it stays until it was unmounted as often (crate image unmount), and cannot be
removed meanwhile. Without IMAGE list what is mounted. Only root can mount.""",
    examples=(
        ("ls $(crate image mount alpine)/etc", "look into an image without running anything"),
        ("crate image mount", "what is mounted, and where"),
    ),
    exit_codes=(("0", "all are mounted"), ("1", "one is not; the others are"), ("125", "the list cannot be made")),
)


def main(words: Words) -> int:
    """Mount, or list."""
    images = open_engine(words).images
    if words.yes("all"):
        if words.arguments:
            raise words.wrong("--all takes no IMAGE")
        words.arguments = tuple(image.id for image in images.list())
        return for_each(words, lambda name: [f"{name} {images.mount(name)}"])
    if not words.arguments:
        return _list(words, images)
    alone = len(words.arguments) == 1
    return for_each(words, lambda name: [images.mount(name) if alone else f"{name} {images.mount(name)}"])


def _list(words: Words, images: Images) -> int:
    names = {image.id: image.names for image in images.list()}
    rows: list[dict[str, Any]] = [
        {"id": image.partition(":")[2], "Repositories": list(names.get(image, ())), "mountpoint": where}
        for image, where in images.mounts()
    ]
    if words.text("format") == "json":
        sys.stdout.write(render.json_text(rows) + "\n")
    else:
        for row in rows:
            render.line(f"{' '.join(row['Repositories']) or render.short_id(row['id'])} {row['mountpoint']}")
    return 0
