"""Which containers `ps --filter` asks for. (Docker's daemon/list.go)"""

from __future__ import annotations

from cratebox.engine.filters import Filters
from cratebox.engine.words import boolean, number, shown
from cratebox.errors import CrateError, InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cratebox.engine.records import ContainerStatus

KEYS = (
    "id", "name", "label", "status", "exited", "ancestor", "before", "since", "health", "network", "publish", "expose", "volume",
    "is-task",
)  # fmt: skip
LATER = {"isolation": "there is none on Linux"}
STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
HEALTHS = ("starting", "healthy", "unhealthy", "none")


def check(filters: Filters) -> None:
    """Raise InvalidValue for a value that no container can have."""
    for key, words in (("status", STATES), ("health", HEALTHS)):
        for value in filters.all(key):
            if value not in words:
                raise InvalidValue(f"--filter {key} cannot be {shown(value)}", f"one of {', '.join(words)}")
    for value in filters.all("exited"):
        number(value, "--filter exited")
    for value in filters.all("is-task"):
        boolean(value, "--filter is-task")


def select(
    found: Iterable[ContainerStatus],
    filters: Filters,
    get: Callable[[str], ContainerStatus],
    image_id: Callable[[str], str],
    network_name: Callable[[str], str] = str,
) -> list[ContainerStatus]:
    """Return those of `found` that all filters let through.

    `get` finds a container by name or ID, `image_id` the ID of an image by name, `network_name` the name of a network. Raises
    InvalidValue, and what `get` raises for a container of `before` and `since` that is not there.
    """
    check(filters)
    before = [get(name).created for name in filters.all("before")]
    since = [get(name).created for name in filters.all("since")]
    images = {name: _known(image_id, name) for name in filters.all("ancestor")}
    names = {text: _pattern(text) for text in filters.all("name")}
    networks = {text: _known(network_name, text) or text for text in filters.all("network")}
    ports = {text: _ports(text) for text in (*filters.all("publish"), *filters.all("expose"))}

    def fits(one: ContainerStatus) -> bool:
        return (
            filters.any("id", lambda value: bool(value) and one.id.startswith(value.lower()))
            and filters.any("name", lambda value: names[value](one.name))
            and filters.labels(one.labels)
            and filters.any("status", lambda value: one.status == value)
            and filters.any("exited", lambda value: not one.alive and bool(one.started_at) and one.exit_code == int(value))
            and filters.any("health", lambda value: (one.health or "none") == value)
            and filters.any("ancestor", lambda value: value == one.image or (images[value] or None) == one.image_id)
            and filters.any("network", lambda value: networks[value] in (one.networks or (one.network,)))
            and filters.any(
                "publish", lambda value: bool(ports[value] & {f"{port.container}/{port.protocol}" for port in one.ports})
            )
            and filters.any(
                "expose",
                lambda value: bool(
                    ports[value].intersection((*one.exposed, *(f"{p.container}/{p.protocol}" for p in one.ports)))
                ),
            )
            and filters.any("volume", lambda value: any(value in (mount.source, mount.target) for mount in one.mounts))
            and filters.any("is-task", lambda value: not boolean(value, "--filter is-task"))  # a task is Swarm's
            and all(one.created < moment for moment in before)
            and all(one.created > moment for moment in since)
        )

    return [one for one in found if fits(one)]


def _ports(text: str) -> set[str]:
    """Return the ports of PORT[-LAST][/PROTOCOL], as PORT/PROTOCOL."""
    from cratebox.engine import network_words

    return set(network_words.exposed([text]))


def _known(find: Callable[[str], str], name: str) -> str:
    """An image or a network that is not there has no containers."""
    try:
        return find(name)
    except CrateError:
        return ""


def _pattern(text: str) -> Callable[[str], bool]:
    """A name is looked for anywhere in the names, as a regular expression; Docker's names begin with a slash."""
    if text.replace("_", "").replace("-", "").isalnum():
        return lambda name: text in name
    import re

    try:
        compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError):
        raise InvalidValue(f"--filter name: not a regular expression: {shown(text)}") from None
    return lambda name: bool(compiled.search(name) or compiled.search("/" + name))
