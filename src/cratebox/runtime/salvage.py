"""What is certain about a container whose files are damaged, for `delete --force`: it ends the container all the same.

    state.json     identity.json
    ----------     -------------
    is read        says the same        nothing is damaged
    is read        says otherwise       the one whose process is alive, and the cgroup that is marked
    is read        is no help           the state; what it says of the cgroup must be true of its mark
    is no help     is read              the identity, and the cgroup that is marked
    is no help     is no help           the cgroup that is marked as this container's, and what is in it

All else cannot be known: `delete` says so, and whoever looks decides.
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError
from cratebox.linux import pidfds
from cratebox.runtime import place
from cratebox.runtime import state as saved


def load(directory: str, name: str) -> saved.State:
    """Return what is certain, by the table above. Raises NotFound, StorageError where nothing tells of processes any more."""
    state, damage = _state(directory)
    try:
        known = saved.load_identity(directory)
    except (FileNotFoundError, StorageError):
        known = None
    if state and (known is None or saved.agree(state, known)):
        return state
    cgroup = place.find_cgroup(directory)
    if not known and not cgroup:
        raise StorageError(
            f"cannot tell whether container {name} has processes: {damage}, nor does identity.json or a cgroup tell",
            f"end them, if there are any, then: rm -r {directory}",
        )
    alive = next((one for one in (state, known) if one and _is_alive(one)), None)
    pid, started, boot_id = (alive.pid, alive.started, alive.boot_id) if alive else (0, 0, "")
    return saved.State(
        "", name, "", pid, started, boot_id, 0.0, cgroup, hooked=os.path.lexists(directory + "/config.json"),
        resctrl=state.resctrl if state else (),
    )  # fmt: skip


def _is_alive(one: saved.State | saved.Identity) -> bool:
    return one.pid > 0 and one.boot_id == pidfds.boot_id() and pidfds.start_time(one.pid) == one.started


def _state(directory: str) -> tuple[saved.State | None, str]:
    """Return the state, or what is wrong with it. Raises NotFound."""
    try:
        return saved.load(directory), ""
    except StorageError as error:
        return None, error.message
