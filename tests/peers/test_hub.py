"""The main job against a registry that answers as Docker Hub does, under its names, with TLS and tokens."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Callable

import pytest

from support.commands import Crate
from support.images import Image
from support.registry import PASSWORD, USER, Hub


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


# Login and push


def enter(there: Crate, password: str = PASSWORD) -> str:
    return there.ok("login", "-u", USER, "--password-stdin", input=password)


def test_who_is_logged_in_pushes_and_what_lies_beside_is_mounted(there: Crate) -> None:
    there.ok("pull", "alpine")
    assert enter(there) == "Login Succeeded"
    said = there.ok("push", "alpine", f"{USER}/mine:{there.person.name}")
    assert "mounted from library/alpine" in said or "already exists" in said  # the other person's was there before
    digest = said.splitlines()[-1].split()[2]
    there.ok("rmi", "alpine")
    assert f"Digest: {digest}" in there.ok("pull", f"{USER}/mine:{there.person.name}")


def test_nobody_pushes_without_a_login(there: Crate) -> None:
    there.ok("pull", "alpine")
    said = there.fails("push", "alpine", f"{USER}/nothing")
    assert f"access to {USER}/nothing is denied" in said
    assert "crate login docker.io" in said


def test_nobody_pushes_below_the_name_of_another(there: Crate) -> None:
    there.ok("pull", "alpine")
    enter(there)
    assert "there is no right to change it" in there.fails("push", "alpine", "bob/mine")


def test_a_wrong_password_is_refused_and_not_kept(there: Crate) -> None:
    said = there.fails("login", "-u", USER, "--password-stdin", input="wr0ng-canary")
    assert "was refused" in said
    assert "canary" not in said
    assert not (there.person.home / ".docker").exists()


def test_a_login_is_asked_again_and_forgotten(there: Crate) -> None:
    enter(there)
    assert there.ok("login") == "Login Succeeded"
    assert "Removed the credential of docker.io" in there.ok("logout")
    assert there.ok("logout") == "Not logged in to docker.io"
    assert "no terminal" in there.fails("login", stdin=subprocess.DEVNULL)


def test_a_password_that_has_become_wrong_is_said(there: Crate) -> None:
    enter(there)
    config = there.person.home / ".docker/config.json"
    config.write_text(
        config.read_text().replace(b64encode(f"{USER}:{PASSWORD}".encode()).decode(), b64encode(b"alice:old").decode())
    )
    assert "was refused" in there.fails("login")


def test_the_password_is_given_once(there: Crate) -> None:
    assert "exclude each other" in there.fails("login", "-u", USER, "-p", "x", "--password-stdin", stdin=subprocess.DEVNULL)
    assert "wants --username" in there.fails("login", "--password-stdin", stdin=subprocess.DEVNULL)
    assert "at least one character" in there.fails("login", "-u", USER, "--password-stdin", stdin=subprocess.DEVNULL)
