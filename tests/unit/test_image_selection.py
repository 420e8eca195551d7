"""images --filter: which images it means."""

from __future__ import annotations

import pytest

from cratebox.engine.filters import parse
from cratebox.engine.image_selection import KEYS, select
from cratebox.errors import InvalidValue, NotFound
from cratebox.image.manifest import ImageConfig
from cratebox.image.store import StoredImage


def image(number: int, *names: str, **labels: str) -> StoredImage:
    config = ImageConfig(architecture="amd64", os="linux", labels=labels)
    return StoredImage(f"sha256:{number}", "sha256:m", names, (), f"2024-01-0{number}T00:00:00.123456789Z", 1, config, ())


OLD = image(1, "docker.io/library/alpine:1", "docker.io/library/alpine:2", "quay.io/a/b:1", tier="front")
NEW = image(3, "docker.io/library/alpine:3")
BARE = image(2)


def get(name: str) -> StoredImage:
    if name == "old":
        return OLD
    raise NotFound(name)


def selected(*words: str) -> list[str]:
    found = select([OLD, NEW, BARE], parse(words, KEYS), get)
    return [name.rpartition("/")[2] for one in found for name in one.names or ("<none>",)]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["dangling=true"], ["<none>"]),
        (["dangling=false"], ["alpine:3", "alpine:1", "alpine:2", "b:1"]),
        (["label=tier"], ["alpine:1", "alpine:2", "b:1"]),
        (["label=tier=back"], []),
        (["until=2024-01-02"], ["alpine:1", "alpine:2", "b:1"]),
        (["since=old"], ["alpine:3", "<none>"]),
        (["before=old"], []),
        (["reference=alpine"], ["alpine:3", "alpine:1", "alpine:2"]),
        (["reference=alpine:2"], ["alpine:2"]),
        (["reference=alp*"], ["alpine:3", "alpine:1", "alpine:2"]),
        (["reference=*:1"], ["alpine:1", "b:1"]),
        (["reference=quay.io/a/b", "reference=alpine:3"], ["alpine:3", "b:1"]),
        (["reference=alpine", "label=tier"], ["alpine:1", "alpine:2"]),
    ],
)
def test_a_filter_means(words: list[str], names: list[str]) -> None:
    assert selected(*words) == names


@pytest.mark.parametrize("word", ["dangling=maybe", "colour=red", "reference=A B", "label", "until=soon"])
def test_a_wrong_filter_is_told(word: str) -> None:
    with pytest.raises(InvalidValue):
        selected(word)


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01T00:00:01.123456789Z", 1.123456),
        ("1970-01-01T01:00:02+01:00", 2),
        ("", 0),
        ("yesterday", 0),
        ("0001-01-01T00:00:00Z", 0),
    ],
)
def test_the_time_an_image_was_made_is_read_in_every_form(created: str, seconds: float) -> None:
    assert OLD.replace(created=created).made == seconds
