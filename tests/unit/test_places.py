"""Places of names: which ones a name is in, and what becomes of it elsewhere."""

from __future__ import annotations

import pytest

from cratebox.errors import InvalidValue
from cratebox.image import place
from cratebox.image.reference import parse

DIGEST = "sha256:" + "a" * 64


def test_a_name_is_in_all_places_above_it_the_closest_first() -> None:
    assert place.scopes(parse("reg.lan.example:5000/team/app:1")) == [
        "reg.lan.example:5000/team/app:1",
        "reg.lan.example:5000/team/app",
        "reg.lan.example:5000/team",
        "reg.lan.example:5000",
        "*.lan.example",
        "*.example",
    ]


def test_a_name_with_tag_and_digest_is_in_the_places_of_both() -> None:
    scopes = place.scopes(parse(f"h.io/a:1@{DIGEST}"))
    assert scopes[:4] == [f"h.io/a:1@{DIGEST}", f"h.io/a@{DIGEST}", "h.io/a:1", "h.io/a"]


def test_docker_hub_has_one_name_and_its_short_names_are_in_library() -> None:
    expected = ["docker.io/library/alpine:latest", "docker.io/library/alpine", "docker.io/library", "docker.io", "*.io"]
    for name in ("alpine", "index.docker.io/alpine", "Registry-1.docker.io/library/alpine", "DOCKER.IO/library/alpine"):
        assert place.scopes(parse(name)) == expected


def test_an_address_has_no_domains() -> None:
    assert place.scopes(parse("[::1]:5000/a:t"))[-1] == "[::1]:5000"


def test_letters_of_a_host_do_not_matter() -> None:
    assert "reg.lan/team" in place.scopes(parse("REG.lan/team/app"))
    assert place.check("REG.lan/team/", "here") == "reg.lan/team"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("docker.io", "docker.io"), ("registry-1.docker.io/library", "docker.io/library"), ("localhost:5000", "localhost:5000"),
        ("mirror", "mirror"), ("*.Example.com", "*.example.com"), ("h.io/a/b:T", "h.io/a/b:T"),
        (f"h.io/a@{DIGEST}", f"h.io/a@{DIGEST}"), ("[::1]:5000/x", "[::1]:5000/x"),
    ],
)  # fmt: skip
def test_a_place_is_compared_in_one_form(text: str, canonical: str) -> None:
    assert place.check(text, "here") == canonical


@pytest.mark.parametrize(
    "text",
    ["", "https://h.io", "*", "*.", "*.h.io/x", "*.h.io:5000", "h.*.io", "a*.io", "h.io//x", "h.io/X", "h.io/a:", "h.io/a@x",
     "h.io:x", "h .io", "h.io/../x", "\n"],
)  # fmt: skip
def test_what_is_no_place_is_said_where_it_stands(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^here: "):
        place.check(text, "here")


@pytest.mark.parametrize("text", ["*.h.io", "h.io/a:t", f"h.io/a@{DIGEST}"])
def test_nothing_is_moved_to_what_is_no_location(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^here: "):
        place.check_location(text, "here")


@pytest.mark.parametrize(
    ("name", "scope", "location", "moved"),
    [
        ("alpine:3", "docker.io", "mirror:5000", "mirror:5000/library/alpine:3"),
        ("alpine:3", "docker.io/library", "m.lan/hub", "m.lan/hub/alpine:3"),
        ("alpine:3", "docker.io/library/alpine", "m.lan/other", "m.lan/other:3"),
        ("alpine:3", "docker.io/library/alpine:3", "m.lan/other", "m.lan/other:3"),
        (f"H.io/a/b@{DIGEST}", "h.io/a", "m.lan", f"m.lan/b@{DIGEST}"),
        ("x.h.io:80/a/b:t", "*.h.io", "m.lan/x", "m.lan/x/a/b:t"),
    ],
)
def test_a_name_is_moved_with_what_is_below_the_place(name: str, scope: str, location: str, moved: str) -> None:
    assert str(place.moved(parse(name), scope, location)) == moved


def test_a_name_of_which_nothing_is_left_is_not_moved() -> None:
    with pytest.raises(InvalidValue, match="empty"):
        place.moved(parse("h.io/a"), "h.io/a", "m.lan")
