"""`update`: other limits and another restart policy for a container, running or not.
All of them, or none: the record and the cgroup agree afterwards.
"""

from __future__ import annotations

import time

from cratebox import document
from cratebox.engine import capacity, events, limits, records, restarts
from cratebox.engine.config import Limits
from cratebox.engine.edit import edit
from cratebox.engine.records import Container
from cratebox.errors import Conflict, NotFound, RuntimeFailure
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECONDS_TO_START = 10.0
# What `update` does not change, and need not write again.
_FIXED: dict[str, Any] = {
    **dict.fromkeys(("weight_devices", "read_bps", "write_bps", "read_iops", "write_iops"), ()),
    "unified": None,
    "oom_kill_disable": None,
}  # fmt: skip


def update(paths: Paths, rootless: bool, container: Container, given: dict[str, Any], restart: str | None = None) -> Container:
    """Set the fields of Limits that are `given`, and the restart policy, and leave the others;
    return the container as it is now.

    The policy is looked at when the container ends the next time, so nobody has to be told.

    Raises InvalidValue, Unsupported for what cannot be, RuntimeFailure for what the kernel refuses: then nothing has changed.
    """
    here = capacity.capacity(rootless)
    capacity.check(Limits(**given), here)
    applied: list[bool] = []

    def change(before: Container) -> Container:
        config = before.config
        if given:
            config = config.replace(limits=(config.limits or Limits()).replace(**given))
            limits.check(config.limits or Limits())
        if restart is not None:
            config = config.replace(restart=restarts.check(restart, config.remove))
        return before.replace(config=config)

    def apply(after: Container) -> None:
        if given and after.config.limits:
            applied[:] = [_apply(paths, after, after.config.limits, here)]

    after = edit(paths, container.id, change, apply)
    if applied == [False]:
        _catch_up(paths, container, after, here)
    if given:
        from cratebox.engine import control

        control.tell_changed(f"{paths.running}/{after.id}")  # with a limit of memory it listens whether that runs out
    events.emit(paths, "container", "update", after.id, events.of_container(after))
    return after


def _apply(paths: Paths, container: Container, wanted: Limits, here: capacity.Capacity) -> bool:
    """Write the limits into the cgroup of a container that runs; return whether it does. Raises Unsupported, RuntimeFailure."""
    from cratebox.runtime import control

    if not records.running_state(paths, container.id):
        return False
    resources = limits.resources(wanted.replace(**_FIXED), {}, here.counts_swap)
    try:
        control.update(paths.running, container.id, document.encode(resources))
    except (Conflict, NotFound):
        return False  # it has just ended
    except RuntimeFailure as error:
        raise RuntimeFailure(f"{container.name}: {error.message}", error.hint) from None
    return True


def _catch_up(paths: Paths, before: Container, after: Container, here: capacity.Capacity) -> None:
    """Somebody may have started it with the old record just now: then it has to get the new limits as well."""
    where, deadline = records.directory(paths, after.id), time.monotonic() + _SECONDS_TO_START
    while records.is_locked(where) and records.status(paths, after).status != "restarting" and time.monotonic() < deadline:
        try:
            assert after.config.limits
            if _apply(paths, after, after.config.limits, here):
                return
        except RuntimeFailure:
            edit(paths, after.id, lambda one: one.replace(config=one.config.replace(limits=before.config.limits)))
            raise
        time.sleep(0.02)
