"""`inspect` shows whatever a container was asked to be, or says why it does not."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from cratebox.engine.config import ContainerConfig, Limits
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


def changed(base: ContainerConfig, field: str, cls: type[Record]) -> Any:
    value = sample(annotations(cls)[field], cls.__module__)
    return (not getattr(base, field)) if isinstance(value, bool) and hasattr(base, field) else value


@pytest.mark.parametrize("field", [name for name in ContainerConfig._fields if name not in ("image", *HIDDEN)])
def test_every_wish_is_shown(field: str) -> None:
    base = ContainerConfig(image="alpine")
    assert document(base.replace(**{field: changed(base, field, ContainerConfig)})) != document(base)


@pytest.mark.parametrize("field", Limits._fields)
def test_every_limit_is_shown(field: str) -> None:
    base = ContainerConfig(image="alpine", limits=Limits())
    assert base.limits
    limits = base.limits.replace(**{field: sample(annotations(Limits)[field], Limits.__module__)})
    assert document(base.replace(limits=limits)) != document(base)


def test_what_is_hidden_is_a_field_and_has_a_reason() -> None:
    assert set(HIDDEN) <= set(ContainerConfig._fields)
    assert all(HIDDEN.values())
