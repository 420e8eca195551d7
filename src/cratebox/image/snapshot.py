"""Unpacked layers."""
from __future__ import annotations


class Layers:
    """The layers below `directory`."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
