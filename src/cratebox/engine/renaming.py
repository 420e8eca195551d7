"""`rename`: another name for a container that is there, running or not.

    under edit.lock:  names/NEW -> ID      the name is taken, or a Conflict raised
                      container.json       says NEW: from here on it has that name
    then:             names/OLD goes

A crash before the second step leaves a name too many, and so does one after it: such a name still leads to the container, and
whoever wants it takes it (`name_links.claim`), for the container's record does not say it.
"""

from __future__ import annotations

import os

from cratebox.engine import events, name_links, records
from cratebox.engine.config import check_name, is_on_networks
from cratebox.engine.edit import edit
from cratebox.engine.records import Container
from cratebox.errors import Conflict, StorageError
from cratebox.paths import Paths


def rename(paths: Paths, container: Container, name: str) -> Container:
    """Give the container the new name; return what it is now. Raises InvalidValue, Conflict where another has the name."""
    name = check_name(name.removeprefix("/"))
    old = []

    def change(now: Container) -> Container:
        if now.name == name:
            raise Conflict(f"{name} has that name already")
        old.append(now.name)
        if name_links.holder_of(paths, name) != now.id:  # it does where an earlier rename was killed
            name_links.claim(paths, name, now.id)
        return now.replace(name=name)

    try:
        renamed = edit(paths, container.id, change)
        name_links.release_old(paths, old[0], renamed.id, wait=True)
    except StorageError:  # a full disk: the new name is not its name
        name_links.release_old(paths, name, container.id, wait=True)
        raise
    finally:
        if not os.path.isdir(records.directory(paths, container.id)):  # it is being removed, and who does it frees one name
            for each in (name, *old):
                name_links.release(paths, each, container.id)
    if is_on_networks(renamed.config) and records.running_state(paths, renamed.id):
        from cratebox.engine import connections

        connections.rename(paths, renamed)
    events.emit(paths, "container", "rename", renamed.id, {**events.of_container(renamed), "oldName": "/" + old[0]})
    return renamed
