"""`inspect` shows whatever a container was asked to be, or says why it does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cratebox.engine.config import ContainerConfig
from cratebox.engine.inspect import HIDDEN, container_document
from cratebox.engine.records import Container, ContainerStatus
from cratebox.paths import Paths
from cratebox.record import Record

PATHS = Paths("/root-of-crate", "/state-of-crate", "/config")
PLAIN: dict[str, Any] = {"str": "sample", "int": 7_000_000, "float": 7.5, "bool": True}


def sample(kind: str, module: str) -> Any:
    """Return a value of the annotation `kind` that no default is."""
    kind = kind.removesuffix(" | None")
    if kind.startswith("tuple["):
        return (sample(kind[6:-1].partition(",")[0], module),)
    if kind.startswith("dict[str, "):
        return {"sample": sample(kind[10:-1], module) if kind != "dict[str, Any]" else {}}
    if kind in PLAIN:
        return PLAIN[kind]
    cls = getattr(sys.modules[module], kind)
    return cls(**{name: sample(annotation, cls.__module__) for name, annotation in annotations(cls).items()})


def annotations(cls: type[Record]) -> dict[str, str]:
    return {name: str(kind) for one in reversed(cls.__mro__) for name, kind in vars(one).get("__annotations__", {}).items()
            if name in cls._fields}  # fmt: skip


def document(config: ContainerConfig) -> dict[str, Any]:
    container = Container(id="1" * 64, name="web", created=1.0, image="alpine", image_id="sha256:2", config=config)
    status = ContainerStatus(
        id=container.id, name="web", image="alpine", image_id="sha256:2", command=((config.entrypoint or ()) + config.command),
        created=1.0, status="created",
    )  # fmt: skip
    return container_document(PATHS, container, status)


def wishes(cls: type[Record], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The fields of a container's configuration, and of the records in it: ("limits", "memory")."""
    for name, kind in annotations(cls).items():
        inner = getattr(sys.modules[cls.__module__], kind.removesuffix(" | None"), None)
        if isinstance(inner, type) and issubclass(inner, Record):
            yield from wishes(inner, (*before, name))
        else:
            yield (*before, name)


def wished(base: Record, path: tuple[str, ...]) -> Any:
    """Return `base` with one field changed to what no default is."""
    name, *rest = path
    kind = annotations(type(base))[name]
    if rest:
        inner = getattr(base, name) or getattr(sys.modules[type(base).__module__], kind.removesuffix(" | None"))()
        return base.replace(**{name: wished(inner, tuple(rest))})
    value = sample(kind, type(base).__module__)
    return base.replace(**{name: not getattr(base, name) if isinstance(value, bool) else value})


@pytest.mark.parametrize("path", [path for path in wishes(ContainerConfig) if path[0] not in ("image", *HIDDEN)], ids=".".join)
def test_every_wish_is_shown(path: tuple[str, ...]) -> None:
    base = ContainerConfig(image="alpine")
    assert document(wished(base, path)) != document(base), "show it in engine/inspect_*.py, or name it in inspect.HIDDEN"


def test_what_is_hidden_is_a_field_and_has_a_reason() -> None:
    assert set(HIDDEN) <= set(ContainerConfig._fields)
    assert all(HIDDEN.values())
