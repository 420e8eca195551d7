"""crate volume create: make a volume."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_label
from cratebox.engine.mount_words import check_driver
from cratebox.engine.words import shown
from cratebox.errors import Conflict, InvalidValue

COMMAND = Command(
    name="create",
    arguments="[NAME]",
    summary="Make a volume",
    flags=(
        Flag("driver", "d", "local", "the only one there is", default="local"),
        Flag("label", "l", "KEY=VALUE", "keep a word with it", repeat=True),
        Flag("opt", "o", "KEY=VALUE", "what it is instead of a directory in crate's store: type=, o= and device=", repeat=True),
        Flag("ignore", help="one that is there already is as good, whatever its labels and options"),
    ),
    most=1,
    later=("availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred",
           "topology-required", "type", "uid", "gid"),
    description="""Make a volume and print its name; without NAME it gets one. One that is there already is left as it is, and
it is an error to ask for other labels or options than it has. Options are those of Docker's local driver:

  --opt type=none --opt o=bind --opt device=/srv/data    a directory of this machine
  --opt type=tmpfs --opt o=size=64m                      memory, for as long as a container that has it runs
  --opt type=nfs --opt o=addr=10.0.0.2 --opt device=:/x  what else the kernel can mount, as root

Nothing is mounted on the machine itself: each container mounts it for itself.""",
    examples=(("crate volume create data", "make it"), ("crate run --rm -v data:/data alpine touch /data/x", "use it")),
    exit_codes=(("0", "it is there"), ("125", "it is not")),
)  # fmt: skip


def main(words: Words) -> int:
    """Make it and print its name."""
    check_driver(words.text("driver") or "", "--driver")
    volumes = open_engine(words).volumes
    name = words.arguments[0] if words.arguments else ""
    if words.arguments and not name:
        raise InvalidValue("the name of the volume is empty", "leave it out for one that is made up")
    try:
        volume = volumes.create(name, dict(map(parse_label, words.all("label"))), dict(map(_option, words.all("opt"))))
    except Conflict:
        if not words.yes("ignore"):
            raise
        volume = volumes.get(name)
    render.line(volume.name)
    return 0


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidValue(f"--opt is KEY=VALUE, not {shown(text)}")
    return key, value
