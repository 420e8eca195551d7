from __future__ import annotations

import os

import pytest

from cratebox.errors import InvalidValue, NotFound
from cratebox.image import platform
from cratebox.image.manifest import Descriptor
from cratebox.image.platform import Platform


def entries(*names: str) -> list[Descriptor]:
    found = []
    for number, name in enumerate(names):
        parts = name.split("/") if name else []
        made_for = Platform(*parts) if parts else None
        found.append(Descriptor(media_type="m", digest=f"sha256:{number:064x}", size=1, platform=made_for))
    return found


def chosen(wanted: str, *names: str) -> str:
    return str(platform.choose(entries(*names), platform.parse(wanted)).platform)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("linux/amd64", "linux/amd64"), ("amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"),
        ("Linux/AArch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"), ("linux/arm64/8", "linux/arm64"), ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm"), ("linux/arm/v7", "linux/arm"), ("linux/armhf", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armel", "linux/arm/v6"), ("windows/amd64", "windows/amd64"), ("linux/amd64/v1", "linux/amd64"),
    ],
)  # fmt: skip
def test_a_platform_has_one_spelling(text: str, printed: str) -> None:
    assert str(platform.parse(text)) == printed


@pytest.mark.parametrize("text", ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/am d", "linux/a\n", "linux//v8"])
def test_a_malformed_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        platform.parse(text)


def test_the_host_is_linux_on_its_own_machine() -> None:
    assert platform.host() == platform.normal("linux", os.uname().machine)


@pytest.mark.parametrize(
    ("wanted", "offered", "best"),
    [
        ("linux/arm64", ("linux/amd64", "linux/arm64/v8"), "linux/arm64/v8"),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6"), "linux/arm/v6"),
        ("linux/arm/v6", ("linux/arm/v7", "linux/arm/v5"), "linux/arm/v5"),
        ("linux/arm", ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2"), "linux/amd64/v2"),
        ("linux/amd64", ("linux/amd64/v3", "linux/amd64"), "linux/amd64"),
        ("linux/amd64", ("unknown/unknown", "linux/amd64"), "linux/amd64"),
        ("linux/amd64", ("", "linux/amd64"), "linux/amd64"),
    ],
)
def test_the_entry_that_suits_best_is_chosen(wanted: str, offered: tuple[str, ...], best: str) -> None:
    assert chosen(wanted, *offered) == best


def test_the_first_of_equals_is_chosen() -> None:
    index = entries("linux/amd64", "linux/amd64")
    assert platform.choose(index, platform.parse("amd64")) is index[0]


def test_a_single_entry_without_platform_is_taken() -> None:
    assert chosen("linux/amd64", "") == "None"


@pytest.mark.parametrize("offered", [("linux/arm64", "windows/amd64"), ("linux/amd64/v2",), ("", ""), (), ("unknown/unknown",)])
def test_no_suiting_entry_is_an_error(offered: tuple[str, ...]) -> None:
    with pytest.raises(NotFound):
        chosen("linux/amd64", *offered)


def test_the_error_lists_the_platforms_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        platform.choose(entries("linux/arm64/v8", "linux/s390x", "unknown/unknown"), platform.parse("amd64"), "alpine:latest")
    assert (str(caught.value), caught.value.hint) == (
        "alpine:latest has no image for linux/amd64",
        "it has: linux/arm64/v8, linux/s390x",
    )


def test_hostile_platform_names_are_escaped_in_the_error() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("linux/amd64", "linux/\x1b[2J")
    assert str(caught.value.hint).isprintable()
