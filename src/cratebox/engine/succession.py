"""The words by which one supervisor follows another, and what they mean: those of this crate, and of older ones.

    crate-supervisor 2 ROOT STATE CONFIG ID NAME=NUMBER...

They are made when a guardian or a sleeper begins to wait, and read when that ends: crate may have been upgraded meanwhile, or
put back. So each number has a name, whoever does not know one ignores it, and what is missing has its default. Before there was
a number of the form in front, they were these, in this order, the last three of one that has slept:

    crate-supervisor ROOT STATE CONFIG ID ours kept lock stdout stderr out-read out-write err-read err-write stdin wakes console
    door
"""

from __future__ import annotations

from cratebox.engine.custody import Custody
from cratebox.engine.guardian import Ward
from cratebox.engine.sleeping import Sleep
from cratebox.paths import Paths

_FIRST_FORM = (
    *("ours", "kept", "lock", "stdout", "stderr", "out-read", "out-write", "err-read", "err-write", "stdin"),
    *("wakes", "console", "door"),
)


def read(words: list[str]) -> tuple[Ward, Custody, Sleep | None]:
    """Return what the words of guardian.successor say; the last is None where nobody has slept. Raises ValueError."""
    form = words[0].isdigit() if words else False
    root, state, config, identity, *rest = words[form:]
    if form:
        named = {name: int(number) for name, _, number in (word.partition("=") for word in rest)}
    else:
        named = dict(zip(_FIRST_FORM, map(int, rest), strict=False))
    if not {"ours", "kept", "lock"} <= named.keys():
        raise ValueError("words of a crate that is not this one")

    def fd(name: str) -> int:
        return named.get(name, -1)

    ward = Ward(
        Paths(root, state, config),
        identity,
        fd("lock"),
        (fd("stdout"), fd("stderr")),
        (fd("out-read"), fd("out-write"), fd("err-read"), fd("err-write")),
        fd("stdin"),
    )
    woken = Sleep(named["wakes"], fd("console"), fd("door"), fd("state"), fd("due")) if "wakes" in named else None
    return ward, Custody.of(fd("ours"), fd("kept")), woken
