"""crate top: the processes of a container."""

from __future__ import annotations

import time

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

_HEAD = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
COMMAND = Command(
    name="top",
    arguments="CONTAINER [PS-OPTION...]",
    summary="List the processes of a container",
    least=1,
    most=None,
    stops=True,
    completes="container",
    description="""List the processes of a container that runs, as this machine sees them: the pids and users are the machine's.
With PS-OPTIONs, as -o pid,args, this machine's ps prints them; among its columns there must be PID, and before it none whose
values a process chooses.""",
    examples=(("crate top web", "what runs in it"), ("crate top web -o pid,rss,args", "with columns of ps")),
    exit_codes=(("0", "they are listed"), ("125", "they could not be listed")),
)


def main(words: Words) -> int:
    """List them."""
    from cratebox.cli import render

    reference, *options = words.arguments
    containers = open_engine(words).containers
    if options:
        from cratebox.cli.host_ps import lines_of

        split = [word for option in options for word in option.split()]
        for line in lines_of(containers.pids(reference), split, "leave out its options"):
            render.line(line)
        return 0
    from cratebox.engine.processes import start_text, used_text

    now = time.time()
    render.table(
        [
            _HEAD,
            *(
                (one.user, str(one.pid), str(one.parent), str(one.share), start_text(one.started, now), one.terminal,
                 used_text(one.used), one.command)
                for one in containers.top(reference)
            ),
        ]
    )  # fmt: skip
    return 0
