"""The keys that leave a container's terminal, found in what is typed."""

from __future__ import annotations


class DetachKeys:
    """What is typed to leave a container: found in what comes bit by bit."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""  # the beginning of the keys, typed already

    def without(self, data: bytes) -> tuple[bytes, bool]:
        """Return what of `data` is to be passed on, and whether all the keys were typed behind it.

        A beginning of the keys is held back until it is clear what follows.
        """
        keys = self._keys
        if not keys:
            return data, False
        data, self._held = self._held + data, b""
        place = data.find(keys)
        if place >= 0:
            return data[:place], True
        for length in range(min(len(keys) - 1, len(data)), 0, -1):
            if data.endswith(keys[:length]):
                self._held = data[-length:]
                return data[:-length], False
        return data, False
