# ruff: noqa: ARG001  bodies follow
"""What an owner has of networks: reserved before his namespace exists, attached to it, and given back.

    reserve   in the client: addresses and host ports, so that what is wrong is said before anything is made
    attach    in the supervisor, while the namespace's first process waits: interfaces, routes, published ports
    release   when he has ended

An owner is a word of the caller's. His lease is garbage where nobody holds the lock that he named and the process whose namespace
was attached has ended: whoever comes next takes it away (`sweep`).
"""

from __future__ import annotations

from cratebox.errors import Unsupported
from cratebox.network.model import Endpoint, Place, Port, Reservation, Wish


def reserve(
    place: Place,
    owner: str,
    label: str,
    wishes: tuple[Wish, ...],
    ports: tuple[Port, ...] = (),
    *,
    lock: str = "",
    upstreams: tuple[str, ...] = (),
) -> Reservation:
    """Take addresses and host ports for `owner`; what he had before is given up.

    `lock`: a file that whoever makes or runs the owner holds (linux/lock.py). Raises InvalidValue, Conflict, Unsupported.
    """
    raise Unsupported("networks: not there yet")


def attach(place: Place, reservation: Reservation, pid: int) -> None:
    """Put the network namespace of process `pid`, which is held by the caller, on its networks. Raises RuntimeFailure."""
    raise Unsupported("networks: not there yet")


def join(place: Place, owner: str, label: str, wish: Wish, pid: int, *, lock: str = "") -> Endpoint:
    """Put the namespace of process `pid` on one network more; 0 where it does not run. Raises InvalidValue, Conflict."""
    raise Unsupported("networks: not there yet")


def leave(place: Place, owner: str, network_id: str, pid: int) -> None:
    """Take the namespace of process `pid` off a network. Raises NotFound."""
    raise Unsupported("networks: not there yet")


def release(place: Place, owner: str) -> None:
    """Give up everything that `owner` has. Where he has nothing, nothing happens."""
    raise Unsupported("networks: not there yet")


def rename(place: Place, owner: str, label: str) -> None:
    """People call `owner` by `label` from now on."""
    raise Unsupported("networks: not there yet")


def of_owner(place: Place, owner: str) -> Reservation | None:
    """Return what `owner` has now."""
    raise Unsupported("networks: not there yet")


def on_network(place: Place, network_id: str) -> tuple[tuple[str, str, Endpoint], ...]:
    """Return who is on a network: label, owner and endpoint of each."""
    raise Unsupported("networks: not there yet")


def sweep(place: Place) -> None:
    """Take away what is left of owners that have ended without a word."""
    raise Unsupported("networks: not there yet")


def leases_directory(place: Place) -> str:
    """Return the directory in which a file is replaced (renamed to) whenever any lease changes; made where it is missing."""
    raise Unsupported("networks: not there yet")
