"""What a container's record says of its networks after a change of them that could not be made."""

from __future__ import annotations

import pytest

from cratebox.engine import connecting
from cratebox.engine.config import ContainerConfig, NetworkWish
from cratebox.engine.records import Container
from cratebox.errors import RuntimeFailure
from cratebox.network.model import Network
from cratebox.paths import Paths


def test_a_network_that_could_not_be_left_is_where_it_was_and_what_others_did_meanwhile_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made_for(*names: str) -> ContainerConfig:
        return ContainerConfig(image="i", network=names[0], networks=tuple(map(NetworkWish, names)))

    kept = Container("1" * 64, "name", 0.0, "i", "2" * 64, made_for("a", "b", "c"))

    def edit(_paths: object, _identity: str, change) -> Container:
        nonlocal kept
        kept = change(kept)
        return kept

    def fail(*_words: object) -> bool:
        edit(None, "", lambda now: now.replace(config=made_for("a", "d")))  # who else connects and disconnects
        raise RuntimeFailure("in the way")

    monkeypatch.setattr(connecting, "edit", edit)
    monkeypatch.setattr(connecting, "_done_to", fail)
    monkeypatch.setattr(connecting.records, "find", lambda _paths, reference: reference)
    monkeypatch.setattr(connecting.records, "load", lambda *_words: kept)
    with pytest.raises(RuntimeFailure):
        connecting.disconnect(Paths("/r", "/s", "/c"), False, Network("n", "b", "crate1", ()), "name", False)
    assert [one.name for one in kept.config.networks] == ["a", "b", "d"]
