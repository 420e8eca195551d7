"""Engines of other people on crate-oci, see support/engines.py. Each is started once, for the tests of one worker.

A module of tests of one of them names its fixture in ENGINE: `image` and `box` are that engine's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from support import engines
from support.cri import Node
from support.engines import Containerd, Docker, Engine, House, Podman, RootlessPodman
from support.images import Image

_E = TypeVar("_E", bound=Engine)


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """Namespaces for engines."""
    try:
        made = House()
    except engines.Absent as absent:
        pytest.skip(str(absent))
    yield made
    made.end()


def _engine(make: Callable[[House, Path, Path], _E], house: House, scratch: Path) -> Iterator[_E]:
    directory = scratch / f"e{os.urandom(2).hex()}"  # short: Podman takes 50 characters
    try:
        engine = make(house, directory, engines.runtime(scratch))
    except engines.Absent as absent:
        pytest.skip(str(absent))
    yield engine
    engine.end()


@pytest.fixture(scope="session")
def podman(house: House, scratch: Path) -> Iterator[Podman]:
    yield from _engine(Podman, house, scratch)


@pytest.fixture(scope="session")
def rootless_podman(house: House, scratch: Path) -> Iterator[RootlessPodman]:
    yield from _engine(RootlessPodman, house, scratch)


@pytest.fixture(scope="session")
def docker(house: House, scratch: Path) -> Iterator[Docker]:
    yield from _engine(Docker, house, scratch)


@pytest.fixture(scope="session")
def containerd(house: House, scratch: Path) -> Iterator[Containerd]:
    yield from _engine(Containerd, house, scratch)


@pytest.fixture(scope="session")
def node(house: House, scratch: Path) -> Iterator[Node]:
    yield from _engine(Node, house, scratch)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Engine:
    """The engine that the module of the test is about."""
    return request.getfixturevalue(request.module.ENGINE)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def image(engine: Engine, busybox_base: Image) -> str:
    """busybox in the engine's store, by the name that it has there."""
    return engine.load("busybox", busybox_base)


@pytest.fixture
def box(engine: Engine, image: str) -> Iterator[str]:
    """A container of the engine that runs until it is told to stop, and then ends with 3."""
    name = engine.begin(image)
    yield name
    engine.remove(name)
