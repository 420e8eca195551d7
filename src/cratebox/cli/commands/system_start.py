"""crate system start: what comes back after a boot."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words
from cratebox.cli.render import complain, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cratebox.engine.boots import Outcome

COMMAND = Command(
    name="system start",
    arguments="",
    summary="Start the containers that their restart policies bring back after a boot",
    description="""There is no daemon that would do it: run this once after each boot. It starts containers whose last run was
ended by the machine, as their policy says: `always` all of them, `unless-stopped` those that were not stopped by the user,
`on-failure` those that were running or had failed; and it removes what --rm was to remove. What runs already is left alone, so
it may be run again.

`crate generate systemd --system-start` prints a unit for systemd that does this at each boot.""",
    examples=(("crate system start", "after a boot"),),
    exit_codes=(("0", "all that was to be started runs"), ("1", "something could not be started; the others were")),
)


def main(words: Words) -> int:
    """Start them and tell what was done."""
    from cratebox.engine import boots

    return tell(words, boots.start(open_engine(words).containers))


def tell(words: Words, outcomes: Iterable[Outcome]) -> int:
    """Print each outcome when it is there; return 0, or 1 where one is an error."""
    code = 0
    for one in outcomes:
        if one.error is None:
            line(f"{one.name}: {one.action}")
            sys.stdout.flush()
        else:
            complain(one.error, f"{words.program} {words.verb}: {one.name}")
            code = 1
    return code
