# ruff: noqa: ARG001  bodies follow
"""Networks on the disk: ROOT/networks/NAME.json, one writer at a time, replaced by rename."""

from __future__ import annotations

from cratebox.errors import Unsupported
from cratebox.network.model import Network, Place


def create(place: Place, network: Network) -> Network:
    """Make a network: `id`, `interface`, `created`, and subnets and gateways where they are not given, are filled in.

    Raises InvalidValue, Conflict, Unsupported.
    """
    raise Unsupported("networks: not there yet")


def load(place: Place, reference: str) -> Network:
    """Return the network of that name, ID or unique beginning of one. Raises NotFound, Conflict, StorageError."""
    raise Unsupported("networks: not there yet")


def all_of(place: Place) -> list[Network]:
    """Return all networks, the default one first where it was made, then by name."""
    raise Unsupported("networks: not there yet")


def remove(place: Place, network: Network) -> None:
    """Delete a network and its bridge. Raises Conflict where somebody is on it."""
    raise Unsupported("networks: not there yet")


def default(place: Place) -> Network:
    """Return the network `bridge`, made where it is missing. Raises Unsupported where this machine has none."""
    raise Unsupported("networks: not there yet")
