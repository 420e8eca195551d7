"""The main job against a registry that answers as Docker Hub does, under its names, with TLS and tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.commands import Crate
from support.images import Image
from support.registry import Hub


@pytest.fixture
def there(hub: Hub, alpine_base: Image, at_hub: Callable[[Crate], Crate], crate: Crate) -> Crate:
    arm = Image(alpine_base.layers, alpine_base.config, "arm64", "v8")
    hub.push("library/alpine", "latest", alpine_base.as_docker(), arm.as_docker())
    return at_hub(crate)


def test_alpine_is_pulled_by_its_name_alone(there: Crate) -> None:
    there.ok("pull", "alpine")
    assert there.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == "alpine:latest"


def test_a_second_pull_says_that_it_is_there_already(there: Crate) -> None:
    there.ok("pull", "alpine")
    assert "up to date" in there.ok("pull", "alpine")


def test_run_pulls_what_is_missing_and_runs_it(there: Crate) -> None:
    done = there("run", "--rm", "alpine", "/bin/sh", "-c", "echo hello world; cat /etc/alpine-release")
    assert done.stdout.split() == ["hello", "world", "3.20.3"], done.stderr


def test_create_and_start_are_two_commands(there: Crate) -> None:
    there.ok("pull", "--quiet", "alpine")
    container = there.ok("create", "alpine")
    assert len(container) == 64
    assert there.ok("start", container, "echo", "started") == "started"


def test_an_unknown_image_is_a_clear_error(there: Crate) -> None:
    assert "no-such-image" in there.fails("pull", "no-such-image")


def test_an_authority_that_nobody_trusts_is_a_clear_error(there: Crate) -> None:
    assert "certificate" in there.fails("pull", "alpine", env={"SSL_CERT_FILE": "/dev/null"})
