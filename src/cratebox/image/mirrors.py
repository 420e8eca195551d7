"""A repository wherever it may be read: its mirrors in their order, then the registry itself.

A mirror that cannot be reached, has a fault, refuses, or lacks what it is asked for is said so and not asked again. What a
mirror sends is compared with the same digests as what the registry sends; wrong bytes end the pull, for whoever sends some
may send others tomorrow.
"""

from __future__ import annotations

from cratebox.errors import NotFound, RegistryError, Untrusted
from cratebox.image import endpoints
from cratebox.image.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from cratebox.image.endpoints import Endpoint
    from cratebox.image.manifest import Descriptor
    from cratebox.image.reference import Reference
    from cratebox.image.referrers import Referrer
    from cratebox.image.registry import Resolved
    from cratebox.image.settings import Settings

    _R = TypeVar("_R")


class Mirrored:
    """The repository of `reference`, for reading: what Registry does, at the first endpoint that does it.

    `say` gets a line for each endpoint that is given up, and one for the mirror that is read from. Raises NotAllowed where
    the name is blocked.
    """

    def __init__(self, reference: Reference, settings: Settings, say: Callable[[str], None] = lambda _text: None) -> None:
        self._say, self.reference = say, reference
        self._ways = [(each, Registry(each.reference, each.settings, say)) for each in endpoints.to_read(reference, settings)]
        self._told = False
        self._sources: dict[str, None] = {}  # what gave something, in order

    def reopen(self, say: Callable[[str], None]) -> None:
        """Use another `say` from here on, and after a fork new connections."""
        self._say = say
        self._sources = {}
        for _, registry in self._ways:
            registry.reopen(say)

    def close(self) -> None:
        """Close the connections."""
        for _, registry in self._ways:
            registry.close()

    def head(self) -> str | None:
        """Return the digest that the name stands for. As Registry.head."""
        return self._ask(Registry.head)

    def resolve(self) -> Resolved:
        """Fetch the manifest or index that the name stands for. As Registry.resolve."""
        return self._ask(Registry.resolve)

    def referrers(self, subject: str, kind: str | None) -> tuple[Referrer, ...]:
        """See referrers.listed."""
        from cratebox.image import referrers

        return self._ask(lambda registry: referrers.listed(registry, subject, kind))

    def tags(self) -> tuple[str, ...]:
        """See tags.listed."""
        from cratebox.image import tags

        return self._ask(tags.listed)

    def manifest(self, descriptor: Descriptor) -> Resolved:
        """Fetch the manifest of an index's entry. As Registry.manifest."""
        return self._ask(lambda registry: registry.manifest(descriptor))

    def small_blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """Fetch a blob whole, verified. As Registry.small_blob."""
        return self._ask(lambda registry: registry.small_blob(descriptor, limit))

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """Yield a blob's bytes from `offset` on; where one endpoint fails, the next goes on. As Registry.blob."""
        position = offset
        while True:
            endpoint, registry = self._ways[0]
            try:
                for chunk in registry.blob(descriptor, position):
                    self._sources[endpoint.reference.name] = None
                    position += len(chunk)
                    yield chunk
            except (NotFound, RegistryError) as error:
                self._give_up(error)
            else:
                return

    def blamed(self, error: Untrusted) -> Untrusted:
        """Return the error with the names of those that sent what is wrong (since `reopen`)."""
        sources = ", ".join(self._sources)
        return Untrusted(f"{error.message} (from {sources})", error.hint) if sources else error

    def _ask(self, work: Callable[[Registry], _R]) -> _R:
        while True:
            endpoint, registry = self._ways[0]
            try:
                answer = work(registry)
            except Untrusted as error:
                self._sources = {endpoint.reference.name: None}
                raise self.blamed(error) from None
            except (NotFound, RegistryError) as error:
                self._give_up(error)
            else:
                self._tell(endpoint)
                return answer

    def _give_up(self, error: NotFound | RegistryError) -> None:
        """Leave the first endpoint. Raises its error where it was the last."""
        if len(self._ways) == 1:
            raise error
        endpoint, registry = self._ways.pop(0)
        registry.close()
        self._told = False
        self._say(f"the mirror {endpoint.reference.name} is left out: {error.message}")

    def _tell(self, endpoint: Endpoint) -> None:
        if endpoint.mirror and not self._told:
            self._told = True
            self._say(f"reading from the mirror {endpoint.reference.name}")
