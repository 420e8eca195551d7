"""crate run: create + start + attach."""

from __future__ import annotations

import os

from cratebox.cli.commands import EXIT_CODES, PullProgress, open_engine
from cratebox.cli.commands.create import CREATE_FLAGS, IMAGES, LATER_FLAGS, MORE_FLAGS, PROCESS, config_from
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_detach_keys
from cratebox.errors import UsageError

COMMAND = Command(
    name="run",
    arguments="IMAGE [COMMAND] [ARG...]",
    summary="Make a container, start it and stay with it",
    flags=(
        Flag("detach", "d", help="leave it running and print its ID", group=PROCESS),
        *CREATE_FLAGS,
        Flag("detach-keys", metavar="KEYS", help="what to type to leave it running (ctrl-p,ctrl-q)", group=PROCESS),
        Flag("sig-proxy", help="pass signals on to it (the default; =false does not)", default="true", group=PROCESS),
    ),
    least=1,
    most=None,
    stops=True,
    completes="image",
    later=LATER_FLAGS,
    more=MORE_FLAGS,
    description=f"""Run a command in a new container, fetching the image where it is missing, and end with its exit code.
COMMAND stands in place of the image's CMD; flags after IMAGE belong to it. Without a network flag the container is on the
network `bridge`, or on the one that CRATE_NETWORK or the settings name.

{IMAGES}""",
    examples=(
        ("crate run --rm alpine echo hello", "one command, nothing left behind"),
        ("crate run --rm -it alpine sh", "a shell"),
        ("crate run -d --name web -p 8080:80 -v ./site:/srv:ro alpine httpd -f -h /srv", "a server, left running"),
        ("crate run --rm rootfs:/ ls /", "this machine's own files, throw-away changes, no registry"),
    ),
    exit_codes=EXIT_CODES,
)


def main(words: Words) -> int:
    """Run the container; return its exit code, or 0 once it runs detached."""
    config = config_from(words)
    detach = words.yes("detach")
    if config.tty and config.interactive and not detach and not os.isatty(0):
        raise UsageError("standard input is not a terminal", "leave out -t")
    keys = words.text("detach-keys")
    progress = PullProgress(words.yes("quiet"))
    try:
        result = open_engine(words).containers.run(
            config,
            detach=detach,
            pull=words.text("pull") or "missing",
            progress=progress,
            sig_proxy=words.yes("sig-proxy"),
            detach_keys=None if keys is None else parse_detach_keys(keys),
            cidfile=words.text("cidfile"),
            replace=words.yes("replace"),
        )
    finally:
        progress.close()
    if isinstance(result, str):
        print(result)
        return 0
    return result
