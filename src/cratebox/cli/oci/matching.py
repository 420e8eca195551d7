"""--regex: the containers that a regular expression means, as with crun."""

from __future__ import annotations

import re

from cratebox.errors import CrateError, InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.cli.oci.caller import Caller


def each(who: Caller, pattern: str, action: Callable[[str], None]) -> int:
    """Do `action` to each container whose whole ID matches; what fails for one keeps it from none of the others.

    Raises InvalidValue for what is no regular expression, and the first error of an action once all are done.
    """
    from cratebox.runtime import lifecycle

    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise InvalidValue(f"{pattern!a} is no regular expression: {error}") from None
    failed: CrateError | None = None
    for entry in lifecycle.list_containers(who.root):
        if wanted.fullmatch(entry["id"]):
            try:
                action(entry["id"])
            except CrateError as error:
                error.message = f"{entry['id']}: {error.message}"
                failed = failed or error
    if failed:
        raise failed
    return 0
