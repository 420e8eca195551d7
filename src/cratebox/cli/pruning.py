"""What the prunes have in common: their flags, the question before, and the answer after."""

from __future__ import annotations

import sys

from cratebox.cli import render
from cratebox.cli.options import Flag, Words
from cratebox.engine.filters import parse
from cratebox.engine.pruning import Filters, Pruned
from cratebox.engine.words import boolean
from cratebox.errors import InvalidValue, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FORCE = Flag("force", "f", help="do not ask")
FILTER = Flag("filter", metavar="KEY=VALUE", help="until=24h (made before), label=KEY[=VALUE], label!=KEY[=VALUE]", repeat=True)


def filters(words: Words, also: tuple[str, ...] = ()) -> Filters:
    """Return the values of --filter; `also` are keys that the caller reads itself. Raises InvalidValue."""
    asked = parse(words.all("filter"), ("until", "label", "label!", *also))
    for key in also:
        for value in asked.all(key):
            boolean(value, f"--filter {key}")
    times = asked.all("until")
    if len(times) > 1 or "" in (*times, *asked.all("label"), *asked.all("label!")):
        what = "there can be one until" if len(times) > 1 else "a value is missing"
        raise InvalidValue(f"--filter: {what}", "until=24h, label=KEY[=VALUE] and label!=KEY[=VALUE]")
    until = None
    if times:
        from cratebox.engine.times import moment

        until = moment(times[0], "filter until") / 1e9
    return Filters(until=until, labels=tuple(map(_label, asked.all("label"))), without=tuple(map(_label, asked.all("label!"))))


def _label(text: str) -> tuple[str, str | None]:
    name, given, wanted = text.partition("=")
    return name, wanted if given else None


def says_all(words: Words) -> bool:
    """Tell whether --filter all=true was given, which is Docker's older way to say --all."""
    values = [text.partition("=")[2] for text in words.all("filter") if text.startswith("all=")]
    return any(boolean(value, "--filter all") for value in values)


def agreed(words: Words, warning: str, items: Sequence[str] = ()) -> bool:
    """Ask whether what the `warning` says is to be done, and return the answer; with --force it is yes."""
    if words.yes("force"):
        return True
    sys.stdout.write(f"WARNING! {warning}\n")
    for item in items:
        render.line(f"  - {item}")
    if given := words.all("filter"):
        sys.stdout.write("\n  Items to be pruned will be filtered with:\n")
        for text in given:
            render.line(f"  - {text}")
    if items:
        sys.stdout.write("\n")
    sys.stdout.write("Are you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def tell(words: Words, pruned: Pruned) -> int:
    """Print what was removed, and on standard error what was not; return the exit code."""
    for title, lines in (
        ("Deleted Containers:", pruned.containers),
        ("Deleted Networks:", pruned.networks),
        ("Deleted Volumes:", pruned.volumes),
        ("Deleted Images:", pruned.images),
        ("Deleted Leftovers:", pruned.leftovers),
    ):
        if lines:
            render.line(title)
            for text in lines:
                render.line(text)
            render.line()
    render.line(f"Total reclaimed space: {render.size(pruned.freed)}")
    sys.stdout.flush()
    who = f"{words.program} {words.verb}"
    if pruned.deferred:
        busy = StorageError(
            "images were left alone: they are being pulled or made by another command", f"then once more: {who}"
        )
        render.complain(busy, who)
    for message in pruned.failed:
        render.complain(StorageError(message, "crate system check tells what is damaged"), who)
    return 1 if pruned.failed else 0
