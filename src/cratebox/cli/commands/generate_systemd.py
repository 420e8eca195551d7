"""crate generate systemd: a unit that keeps a container running."""

from __future__ import annotations

import os
import shutil
import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine import systemd_unit
from cratebox.errors import Conflict, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.engine import Engine

COMMAND = Command(
    name="generate systemd",
    arguments="CONTAINER",
    summary="Print a unit for systemd that keeps a container running",
    flags=(
        Flag("name", "n", help="call the container by its name in the unit, not by its ID"),
        Flag("files", "f", help="write the unit to a file in this directory, and print its path"),
        Flag("restart-policy", metavar="POLICY", help="systemd's Restart=", default="on-failure", words=systemd_unit.RESTARTS),
        Flag("time", "t", "SECONDS", "how long a stop waits before it kills (the container's own, or 10)", alias="stop-timeout"),
        Flag("system-start", help="the unit that does `crate system start` at each boot; it takes no CONTAINER"),
    ),
    least=0,
    most=1,
    completes="container",
    later=("new", "after", "requires", "wants", "container-prefix", "separator", "no-header", "format", "template", "e/env",
           "restart-sec", "start-timeout"),
    description="""Print a unit that starts a container, stops it, and lets systemd start it again. systemd stays the only one
that does: a container with a restart policy of its own is refused. Put the file into /etc/systemd/system, or as an ordinary
user into ~/.config/systemd/user, and `systemctl enable` it (`systemctl --user`; `loginctl enable-linger` where it is to run
without a login).

Where crate's own restart policies are to be kept after a boot, one unit does for all containers: --system-start.""",
    examples=(
        ("crate generate systemd -n web > /etc/systemd/system/web.service", "a unit of its own"),
        ("crate generate systemd --system-start > /etc/systemd/system/crate.service", "all restart policies, at each boot"),
    ),
    exit_codes=(("0", "it was printed or written"), ("125", "there is no such container, or it has a restart policy")),
)  # fmt: skip


def main(words: Words) -> int:
    """Print the unit, or write it."""
    engine = open_engine(words)
    if words.yes("system-start") == bool(words.arguments):
        raise words.wrong("it takes one container, or --system-start")
    if words.yes("system-start"):
        name, text = "crate", systemd_unit.of_system(_command(words), engine.paths.root, engine.identity.rootless)
    else:
        name, text = _of_container(words, engine)
    if not words.yes("files"):
        sys.stdout.write(text)
        return 0
    print(_written(f"{os.getcwd()}/{name}.service", text))
    return 0


def _of_container(words: Words, engine: Engine) -> tuple[str, str]:
    container = engine.containers.get(words.arguments[0])
    config = container.config
    if config.restart != "no":
        raise Conflict(
            f"{container.name} has the restart policy {config.restart}, and systemd would be a second one",
            f"crate update --restart no {container.name}, or crate generate systemd --system-start",
        )
    seconds = words.number("time", -1)
    if seconds is None:
        seconds = 10 if config.stop_timeout is None else config.stop_timeout
    reference = container.name if words.yes("name") else container.id
    unit = systemd_unit.Unit(
        command=_command(words),
        reference=reference,
        description=f"Container {container.name} ({container.image})",
        root=engine.paths.root,
        restart=words.text("restart-policy") or "on-failure",
        stop_timeout=seconds,
        rootless=engine.identity.rootless,
    )
    return f"container-{reference}", systemd_unit.of_container(unit)


def _command(words: Words) -> tuple[str, ...]:
    """Return the command that this is, with where its state lies, which a unit would not know of."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    installed = os.path.normpath(f"{package}/../../../../bin/crate")
    command = [installed if os.access(installed, os.X_OK) else shutil.which("crate") or "/usr/local/bin/crate"]
    for flag, typed in (("root", words.root), ("state", words.state)):
        if directory := typed or os.environ.get("CRATE_" + flag.upper()):
            command += [f"--{flag}", os.path.abspath(directory)]
    return tuple(command)


def _written(path: str, text: str) -> str:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    return path
