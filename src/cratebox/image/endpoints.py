"""Where an image of a name is really to be had: what registries.conf and config.toml make of the name, in order.

docker.io/library/alpine:3.20      the name, which never changes: it is what the store and the policy know
mirror.lan/hub/library/alpine:3.20     a mirror: asked first
registry.lan/library/alpine:3.20       the location, or the name itself: asked last
"""

from __future__ import annotations

from cratebox.errors import InvalidValue, NotAllowed
from cratebox.image import place
from cratebox.image.reference import Reference
from cratebox.image.settings import Settings
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.registries_conf import Namespace


class Endpoint(Record):
    """One place. `reference` is the name that is asked for there, `settings` are those that hold there."""

    reference: Reference
    settings: Settings
    mirror: bool = False


def to_read(reference: Reference, settings: Settings) -> tuple[Endpoint, ...]:
    """Return where to read `reference`, in the order of trying; there is at least one. Raises NotAllowed for a blocked name."""
    found = _namespace(reference, settings)
    if found is None:
        return (_endpoint(reference, settings),)
    scope, namespace = found
    _check_blocked(reference, namespace)
    places = [
        (each.location, each.insecure, True)
        for each in namespace.mirrors
        if (each.for_digests if reference.digest else each.for_tags)
    ]
    places.append((namespace.location, namespace.insecure, False))
    return tuple(
        _endpoint(_moved(reference, scope, location, namespace), settings, insecure, mirror)
        for location, insecure, mirror in places
    )


def to_write(reference: Reference, settings: Settings) -> Endpoint:
    """Return where a push of `reference` goes: to its own name, for mirrors and locations are for reading.
    Raises NotAllowed.
    """
    found = _namespace(reference, settings)
    if found is None:
        return _endpoint(reference, settings)
    _check_blocked(reference, found[1])
    return _endpoint(reference, settings, found[1].insecure)


def _namespace(reference: Reference, settings: Settings) -> tuple[str, Namespace] | None:
    """Return the closest place that the name is in and something is said of, and what is said."""
    if not settings.namespaces:
        return None
    said = {each.prefix: each for each in settings.namespaces}
    return next(((scope, said[scope]) for scope in place.scopes(reference) if scope in said), None)


def _check_blocked(reference: Reference, namespace: Namespace) -> None:
    if namespace.blocked:
        raise NotAllowed(f"{reference.familiar}: {namespace.prefix} is blocked in {namespace.where}")


def _moved(reference: Reference, scope: str, location: str, namespace: Namespace) -> Reference:
    if not location or location == scope:
        return reference
    try:
        return place.moved(reference, scope, location)
    except InvalidValue as error:
        raise InvalidValue(f"{namespace.where}: [[registry]] of {scope}, location {location}: {error.message}") from None


def _endpoint(reference: Reference, settings: Settings, insecure: bool = False, mirror: bool = False) -> Endpoint:
    access = settings.access.elsewhere() if mirror else settings.access
    settings = settings.replace(access=access)
    if access.verify:
        return Endpoint(reference, settings.replace(insecure=()), mirror)
    if insecure or access.verify is False:
        settings = settings.replace(insecure=(*settings.insecure, reference.registry.lower()))
    return Endpoint(reference, settings, mirror)
