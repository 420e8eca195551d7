"""How long a push to a local registry that has nothing yet takes, and what memory it needs, beside podman and docker.

bench/push.py [--shape small|large|wide|huge] [--rounds N] [--write] [--only crate,podman,docker]

Each engine has pulled the image from another registry before: what it pushes is what it keeps of that.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
import shapes
from start import Maker, of_root

import peers
from support.registry import Registry

PUSHERS: dict[str, Maker] = {"crate": peers.Crate, "podman": peers.Podman, "docker": peers.Docker}


class Target:
    """A registry at one address, which is empty again each time it is asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._turns, self.address = directory, itertools.count(), "127.0.0.1:0"
        self._registry: Registry | None = None

    def emptied(self) -> str:
        """Return the address."""
        self.end()
        self._registry = Registry(self._directory / str(next(self._turns)), address=self.address).__enter__()
        self.address = self._registry.address
        return self.address

    def end(self) -> None:
        if self._registry is not None:
            self._registry.__exit__(None, None, None)
            self._registry = None


@contextmanager
def registries(directory: Path) -> Iterator[tuple[Registry, Target]]:
    """The registry that the engines pull from, and the one that they push to."""
    target = Target(directory / "target")
    with Registry(directory / "source") as source:
        try:
            yield source, target
        finally:
            target.end()


def measured(engines: list[peers.Engine], arguments: argparse.Namespace) -> tuple[str, str]:
    """Push in turn with every engine, then once more for its memory; return the table and a note."""
    image = shapes.SHAPES[arguments.shape]()
    with registries(engines[0].directory.parent / "registries") as (source, target):
        reference = source.push(f"bench/{arguments.shape}", "latest", image)
        pushed = f"{target.emptied()}/bench/{arguments.shape}:latest"
        for engine in engines:
            peers.call(engine.pull(reference))
            peers.call(engine.tag(reference, pushed))

        def prepared(engine: peers.Engine) -> measure.Command:
            target.emptied()
            return engine.push(pushed)

        contestants = {engine.name: (lambda engine=engine: prepared(engine)) for engine in engines}
        samples = measure.in_turn(contestants, arguments.rounds, warm=1, between=os.sync)
        by_name = {engine.name: engine for engine in engines}
        for found in samples:
            engine = by_name[found.name]
            found.largest_process, found.all_processes = measure.memory_of(prepared(engine), engine.daemons)
    size = sum(len(layer.data) for layer in image.layers)
    about = f"{len(image.layers)} layers, {size / 1e6:.0f} MB compressed; {arguments.rounds} rounds"
    return measure.table(samples, "s"), about


if __name__ == "__main__":
    sys.exit(
        measure.comparison("push", __doc__, {"shape": "large", "rounds": 5}, lambda only: of_root(PUSHERS, only), measured)
    )
