"""The tags of a repository, as registries list them and as they should not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import fake_registry as fake
import pytest
from clients import IMAGE
from writable_registry import WritableRegistry

from cratebox.errors import NotFound, RegistryError
from cratebox.image import reference, tags
from cratebox.image.registry import Registry
from cratebox.image.settings import Settings


@pytest.fixture
def registry(writable: WritableRegistry) -> Iterator[Registry]:
    for tag in ("1", "2", "3", "latest", "v4"):
        writable.put(f"a/b:{tag}", IMAGE)
    made = Registry(reference.parse(f"{writable.address}/a/b"), Settings(certificates=()))
    yield made
    made.close()


@pytest.mark.parametrize("per_page", [1, 2, 5, 1000])
def test_all_pages_are_asked_for(writable: WritableRegistry, registry: Registry, per_page: int) -> None:
    writable.per_page = per_page
    assert tags.listed(registry) == ("1", "2", "3", "latest", "v4")


def test_a_repository_that_is_not_there_is_not_found(writable: WritableRegistry) -> None:
    missing = Registry(reference.parse(f"{writable.address}/a/c"), Settings(certificates=()))
    with pytest.raises(NotFound, match="has no repository a/c"):
        tags.listed(missing)
    missing.close()


def test_a_link_leads_to_no_other_place(writable: WritableRegistry, registry: Registry) -> None:
    link = '<http://169.254.169.254/secret?last=3>; rel="next"'
    writable.fault("/tags/list", fake.header(Link=link))
    assert tags.listed(registry) == ("1", "2", "3", "latest", "v4")
    assert writable.asked("/tags/list")[1].path == "/v2/a/b/tags/list?last=3"


def test_a_list_that_does_not_end_is_refused(writable: WritableRegistry, registry: Registry) -> None:
    writable.fault("/tags/list", fake.header(Link='<?last=1>; rel="next"'), times=99)
    with pytest.raises(RegistryError, match="does not end"):
        tags.listed(registry)


def test_too_many_are_refused(writable: WritableRegistry, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "MOST_TAGS", 4)
    with pytest.raises(RegistryError, match="more than 4 tags"):
        tags.listed(registry)


@pytest.mark.parametrize("found", [["../../x"], ["a b"], [1], [None], {"a": 1}, "latest", ["-x"], ["a" * 129]])
def test_what_is_no_tag_is_refused(writable: WritableRegistry, registry: Registry, found: object) -> None:
    writable.fault("/tags/list", fake.body(lambda _data: json.dumps({"tags": found}).encode()))
    with pytest.raises(RegistryError, match=r"no list of tags|which is no tag"):
        tags.listed(registry)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}x", b"\xff"])
def test_what_is_no_document_is_refused(writable: WritableRegistry, registry: Registry, body: bytes) -> None:
    writable.fault("/tags/list", fake.body(lambda _data: body))
    with pytest.raises(RegistryError, match="no list of tags"):
        tags.listed(registry)


def test_an_empty_list_as_go_writes_it_is_one(writable: WritableRegistry, registry: Registry) -> None:
    writable.fault("/tags/list", fake.body(lambda _data: b'{"name":"a/b","tags":null}'))
    assert tags.listed(registry) == ()


def test_a_refusal_is_said(writable: WritableRegistry, registry: Registry) -> None:
    writable.fault("/tags/list", fake.status(403, "DENIED"), times=9)
    with pytest.raises(RegistryError, match="denied"):
        tags.listed(registry)
