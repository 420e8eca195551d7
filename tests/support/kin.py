"""A container's supervisor and its guardian, found and killed; and containers that wait until they may go on."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

NAMES = ("crate-superviso", "crate-guardian")  # as the kernel cuts them


def kin(box, reference: str) -> dict[str, int]:  # type: ignore[no-untyped-def]
    """Return the pids of a container's supervisor and guardian, by those names: both have its lock open."""
    lock = os.stat(box.crate.root / "containers" / identity_of(box, reference) / "lock")
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name in NAMES and any(os.path.samestat(os.stat(fd), lock) for fd in Path(f"/proc/{pid}/fd").iterdir()):
                found[name] = int(pid)
        except OSError:
            continue
    return found


def both(box, reference: str, until) -> dict[str, int]:  # type: ignore[no-untyped-def]
    """Return supervisor and guardian when there are both. One that falls asleep, or wakes, has another name for a moment."""
    found: dict[str, int] = until(lambda: now if len(now := kin(box, reference)) == len(NAMES) else None)
    return found


def identity_of(box, reference: str) -> str:  # type: ignore[no-untyped-def]
    if len(reference) == 64:
        return reference
    return str(box.crate.json("inspect", reference)[0]["Id"])


def kill(box, reference: str, name: str, until) -> None:  # type: ignore[no-untyped-def]
    """Kill the supervisor or the guardian, once there are both, and wait until there are both again."""
    before = both(box, reference, until)
    os.kill(before[name], signal.SIGKILL)
    until(lambda: len(now := kin(box, reference)) == 2 and before[name] not in now.values())


def kill_at_once(*pids: int) -> None:
    """Kill processes each of which would replace another that ends: none has the time for it.

    Wait until all have let go of what they had, their locks last.
    """
    ends = [os.pidfd_open(pid) for pid in pids]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for end in ends:
            signal.pidfd_send_signal(end, number)
    for end in ends:
        select.select([end], [], [], 60)
        os.close(end)


def exit_of(box, reference: str) -> tuple[str, int]:  # type: ignore[no-untyped-def]
    state = box.crate.json("inspect", reference)[0]["State"]
    return state["Status"], state["ExitCode"]


def ends(box, reference: str, until) -> int:  # type: ignore[no-untyped-def]
    until(lambda: exit_of(box, reference)[0] == "exited")
    return exit_of(box, reference)[1]


# Has memory run out. Of all that is there the kernel could as well choose the container's first process.
EATS = "echo 1000 > /proc/self/oom_score_adj; x=$(head -c 100000000 /dev/zero | tr '\\0' a)"
GO = "trap g=1 USR1; until [ $g ]; do sleep 0.05; done; "


def go(box, reference: str) -> None:  # type: ignore[no-untyped-def]
    """Let a container that waits for it go on."""
    box.crate.ok("kill", "-s", "USR1", reference)
