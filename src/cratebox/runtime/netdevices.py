"""Interfaces of the machine that become the container's (config-linux.md, Network Devices).
Only specs that have some import this.

The parent moves them once the container's network namespace is there, and gives them their addresses again, which the kernel
takes away on the move. When the namespace ends, the kernel gives physical ones back and deletes the others.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, namespaces, netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from cratebox.runtime.spec import NetDevice

_KEPT = ~(netlink.IFA_F_PERMANENT | netlink.IFA_F_TENTATIVE | netlink.IFA_F_DADFAILED)


def move(devices: dict[str, NetDevice], namespace: str) -> None:
    """Move `devices` into the network namespace of the file `namespace`, with the names they have there, and up.

    Raises RuntimeFailure that names the device. Those that are not there, or whose name is taken,
    are found before any is moved.
    """
    here = target = inside = None
    try:
        target = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        here, inside = netlink.open_socket(), _open_inside(target)
        known = _check(devices, netlink.links(here), netlink.links(inside))
        for name, device in devices.items():
            _move(here, inside, target, known[name], name, device.name or name)
    except OSError as error:
        raise RuntimeFailure(f"cannot move network devices into the container: {error.strerror}") from None
    finally:
        for sock in (here, inside):
            if sock:
                sock.close()
        if target is not None:
            os.close(target)


def _open_inside(target: int) -> _socket.socket:
    """Return a socket of another network namespace. This process goes there and comes back; it has no other thread."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.setns(target, const.CLONE_NEWNET)
        try:
            return netlink.open_socket()
        finally:
            namespaces.setns(own, const.CLONE_NEWNET)
    finally:
        os.close(own)


def _check(devices: dict[str, NetDevice], ours: dict[str, int], theirs: dict[str, int]) -> dict[str, int]:
    for name, device in devices.items():
        if name not in ours:
            raise RuntimeFailure(f"linux.netDevices: there is no network device {name!a}", "see ip link")
        inside = device.name or name
        if inside in theirs:
            raise RuntimeFailure(f"linux.netDevices: the container has a network device {inside!a} already")
    return ours


def _move(here: _socket.socket, inside: _socket.socket, target: int, index: int, name: str, new: str) -> None:
    try:
        kept = [one for one in netlink.addresses(here, index) if _is_kept(one)]
        before = set(netlink.links(inside).values())
        netlink.move_link(here, index, target, new)
        moved = _find(netlink.links(inside), new, before)
        for one in kept:
            netlink.add_address(inside, moved, one.replace(flags=one.flags & _KEPT))
        netlink.set_up(inside, moved)
    except OSError as error:
        hint = {
            1: "moving a device takes CAP_NET_ADMIN where it is: it cannot be done without root",
            22: "devices that belong to one namespace alone, such as lo, cannot be moved",
        }.get(error.errno or 0)
        raise RuntimeFailure(f"cannot move the network device {name!a} into the container: {error.strerror}", hint) from None


def _find(links: dict[str, int], name: str, before: set[int]) -> int:
    """Return the number of what was moved, which may be another one there; for a pattern, the one that is new.
    Raises RuntimeFailure.

    In a namespace that is joined others may make and rename interfaces at the same time.
    """
    if name in links:
        return links[name]
    new = set(links.values()) - before
    if len(new) != 1:
        raise RuntimeFailure(f"linux.netDevices: {name!a} is not to be told from what others do in the network namespace")
    return new.pop()


def _is_kept(one: netlink.Address) -> bool:
    """What was configured for good and holds everywhere is kept; what the kernel derives itself (fe80::) comes anew."""
    return bool(one.flags & netlink.IFA_F_PERMANENT) and one.scope == netlink.RT_SCOPE_UNIVERSE
