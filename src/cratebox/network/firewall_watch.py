"""Whoever deletes the rules of networks while containers run (`nft flush ruleset`, a restart of nftables.service) has them back
at once.

The kernel tells everybody who listens what is changed of nf_tables. The resolver does, of root's networks: it is there anyway
as long as a container is on a network with names. Where all are on the default one,
the next command that looks at networks loads them again.
"""

from __future__ import annotations

import time

from cratebox.errors import CrateError
from cratebox.linux import nftables
from cratebox.network import upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.network.loop import Loop
    from cratebox.network.model import Place
    from cratebox.network.rights import Rights

_PAUSE = 1.0  # seconds between two times that rules are loaded: somebody may delete them again and again


class FirewallWatch:
    """Of the rules of `place`. Its socket is opened here, by `rights`. Raises OSError."""

    def __init__(self, place: Place, loop: Loop, rights: Rights) -> None:
        self._place, self._loop, self._rights = place, loop, rights
        self._earliest = 0.0
        self._is_due = False
        with rights:
            self._sock = nftables.open_monitor()
        loop.watch(self._sock.fileno(), self._hear)

    def look(self) -> None:
        """Load the rules where they are not there. What is in the way, the next start says."""
        self._is_due = False
        self._earliest = time.monotonic() + _PAUSE
        try:
            with self._rights:
                upkeep.guard(self._place)
        except (OSError, CrateError):
            pass

    def _hear(self) -> None:
        if nftables.hears_of_deleted_table(self._sock) and not self._is_due:
            self._is_due = True
            self._loop.after(max(0.0, self._earliest - time.monotonic()), self.look)
