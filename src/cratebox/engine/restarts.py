"""Restart policies: whether a container that has ended is started again, and when. The supervisor asks after each run.

The words and the numbers are Docker's: it waits 100 ms before the first restart and twice as long before each further one, a
minute at most; a run of ten seconds begins anew with 100 ms. `on-failure:N` counts restarts since the user started it.
"""

from __future__ import annotations

from cratebox.engine.words import shown
from cratebox.errors import InvalidValue
from cratebox.record import Record

POLICIES = ("no", "always", "unless-stopped", "on-failure")
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 60.0  # seconds
_STABLE = 10.0  # seconds
_MOST_RETRIES = 1 << 31


class RestartPolicy(Record):
    """`name` is one of POLICIES; `retries` bounds the restarts of on-failure, 0 for no bound."""

    name: str = "no"
    retries: int = 0


def parse(text: str) -> RestartPolicy:
    """Return the policy of `--restart text`: no, always, unless-stopped, on-failure[:N]. Raises InvalidValue."""
    name, colon, count = text.partition(":")
    name = name or "no"
    if name not in POLICIES:
        raise InvalidValue(f"no such restart policy: {shown(text)}", "no, always, unless-stopped, on-failure or on-failure:N")
    if not colon:
        return RestartPolicy(name)
    if name != "on-failure":
        raise InvalidValue(f"--restart {shown(text)}: only on-failure takes a number of retries", f"--restart {name}")
    if not (count.isascii() and count.isdigit() and int(count[:11]) < _MOST_RETRIES):
        raise InvalidValue(f"--restart {shown(text)}: {shown(count)} is no number of retries", "--restart on-failure:5")
    return RestartPolicy(name, int(count))


def check(text: str, remove: bool) -> str:
    """Return `text` where it is a restart policy that goes with --rm, which `remove` says. Raises InvalidValue."""
    policy = parse(text)
    if remove and policy.name != "no":
        raise InvalidValue(
            f"--restart {shown(text)} and --rm contradict each other: what is removed cannot be started again", "leave one out"
        )
    return text or "no"


class Restarts:
    """The restarts of one container since the user started it: `count` of them so far, the last one after `delay` seconds."""

    def __init__(self, count: int = 0, delay: float = 0.0) -> None:
        self.count, self.delay = count, delay

    def after(self, policy: RestartPolicy, code: int, seconds: float, unwanted: bool) -> float | None:
        """Return how many seconds to wait before the next start, None where there is to be none.

        The run that is over took `seconds` and ended with `code`; `unwanted`: the user has stopped the container.
        """
        if seconds >= _STABLE:
            self.delay = 0.0
        if unwanted or not self._is_due(policy, code):
            return None
        self.delay = min(self.delay * 2, _LONGEST_DELAY) if self.delay else _FIRST_DELAY
        self.count += 1
        return self.delay

    def _is_due(self, policy: RestartPolicy, code: int) -> bool:
        if policy.name == "on-failure":
            return code != 0 and (not policy.retries or self.count < policy.retries)
        return policy.name != "no"
