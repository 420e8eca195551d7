"""Credentials of other tools' files, and the challenges that ask for them."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cratebox.errors import InvalidValue
from cratebox.image import auth
from cratebox.image.auth import Challenge, Credential, parse_challenges
from cratebox.image.reference import parse


def entry(login: str) -> dict[str, str]:
    return {"auth": b64encode(login.encode()).decode()}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def write(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def docker(home: Path, document: Any) -> None:
    write(home / ".docker/config.json", document)


def found(name: str) -> str | None:
    credential = auth.find(parse(name)).credential
    return None if credential is None else f"{credential.username}:{credential.password}"


def test_nothing_is_found_where_nothing_is() -> None:
    assert auth.find(parse("h.io/x")) == auth.Found()


def test_what_docker_login_wrote_is_found(home: Path) -> None:
    docker(home, {"auths": {"h.io": entry("me:pass:word")}})
    assert found("h.io/x") == "me:pass:word"


@pytest.mark.parametrize(
    "key",
    ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v2/"],
)
def test_docker_hub_has_several_names(home: Path, key: str) -> None:
    docker(home, {"auths": {key: entry("me:pw")}})
    assert found("alpine") == "me:pw"


@pytest.mark.parametrize("key", ["https://h.io", "https://h.io/", "http://h.io/v1/", "https://H.io/v2/", "h.io"])
def test_an_address_is_the_name_of_its_host(home: Path, key: str) -> None:
    docker(home, {"auths": {key: entry("me:pw")}})
    assert found("h.io/x") == "me:pw"


@pytest.mark.parametrize("key", ["h.io:5000", "x.h.io", "io", "h.io.evil", "h.io/other", "https://h.io/other", "h.io/x/y/z"])
def test_another_registry_or_repository_gets_nothing(home: Path, key: str) -> None:
    docker(home, {"auths": {key: entry("me:pw")}})
    assert found("h.io/x/y") is None


def test_the_most_specific_entry_wins(home: Path) -> None:
    docker(home, {"auths": {"h.io": entry("all:pw"), "h.io/team": entry("team:pw"), "h.io/team/one": entry("one:pw")}})
    assert [found(f"h.io/{name}") for name in ("x", "team/two", "team/one")] == ["all:pw", "team:pw", "one:pw"]


def test_files_are_asked_in_order(home: Path) -> None:
    docker(home, {"auths": {"h.io": entry("docker:pw"), "only.io": entry("docker:pw")}})
    write(home / "config/containers/auth.json", {"auths": {"h.io": entry("config:pw")}})
    assert (found("h.io/x"), found("only.io/x")) == ("config:pw", "docker:pw")
    write(home / "run/containers/auth.json", {"auths": {"h.io": entry("run:pw")}})
    assert found("h.io/x") == "run:pw"


def test_registry_auth_file_stands_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(home, {"auths": {"h.io": entry("docker:pw")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "none"))
    assert found("h.io/x") is None


def test_docker_config_moves_the_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "elsewhere/config.json", {"auths": {"h.io": entry("else:pw")}})
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "elsewhere"))
    assert found("h.io/x") == "else:pw"


def test_an_identity_token_is_taken_for_what_it_is(home: Path) -> None:
    docker(home, {"auths": {"h.io": {**entry("me:"), "identitytoken": "t"}}})
    credential = auth.find(parse("h.io/x")).credential
    assert credential is not None
    assert (credential.identity_token, credential.password) == ("t", "")


@pytest.mark.parametrize("entries", [{"h.io": {}}, {"h.io": {"auth": ""}}, {"h.io": None}, {"h.io": []}, [], "x", None])
def test_an_empty_entry_is_no_credential(home: Path, entries: Any) -> None:
    docker(home, {"auths": entries})
    assert found("h.io/x") is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "nonsense", '{"auths": {"h.io": {"auth": "%%%"}}}', '{"auths": {"h.io": {"auth": "eA=="}}}']
)
def test_a_damaged_file_is_named(home: Path, text: str) -> None:
    docker(home, text)
    with pytest.raises(InvalidValue, match=r"config\.json"):
        found("h.io/x")


def test_an_empty_file_is_none(home: Path) -> None:
    docker(home, "")
    assert found("h.io/x") is None


def test_a_fifo_is_refused_and_not_waited_for(home: Path) -> None:
    (home / ".docker").mkdir()
    os.mkfifo(home / ".docker/config.json")
    with pytest.raises(InvalidValue, match="not a file"):
        found("h.io/x")


def test_a_secret_is_not_in_the_repr() -> None:
    assert "canary" not in repr(Credential(username="me", password="canary", identity_token="canary"))


# Helpers


def helper(home: Path, name: str, script: str) -> None:
    write(home / f"bin/docker-credential-{name}", f"#!/bin/sh\n{script}\n")
    (home / f"bin/docker-credential-{name}").chmod(0o755)


GOOD = (
    """test "$*" = get || exit 9; read server; printf '{"ServerURL":"%s","Username":"%s","Secret":"s"}' "$server" "$server" """
)


@pytest.mark.parametrize(
    ("document", "name", "asked"),
    [
        ({"credsStore": "good"}, "h.io:5000/x", "h.io:5000"),
        ({"credsStore": "good"}, "alpine", "https://index.docker.io/v1/"),
        ({"credHelpers": {"h.io": "good"}, "credsStore": "missing"}, "h.io/x", "h.io"),
        ({"credHelpers": {"docker.io": "good"}}, "alpine", "https://index.docker.io/v1/"),
    ],
)
def test_a_helper_is_asked_for_the_server(home: Path, document: dict[str, Any], name: str, asked: str) -> None:
    helper(home, "good", GOOD)
    docker(home, document)
    assert found(name) == f"{asked}:s"


def test_a_helpers_token_is_an_identity_token(home: Path) -> None:
    helper(home, "tokens", """printf '{"Username":"<token>","Secret":"t"}'""")
    docker(home, {"credsStore": "tokens"})
    credential = auth.find(parse("h.io/x")).credential
    assert credential is not None
    assert credential.identity_token == "t"


@pytest.mark.parametrize("name", ["../evil", "a/b", "x;id", "$(id)", "", 5, ["x"], "a b", "x\n"])
def test_a_helpers_name_that_is_a_path_runs_nothing(home: Path, name: Any) -> None:
    docker(home, {"credHelpers": {"h.io": name}})
    with pytest.raises(InvalidValue, match="helper"):
        found("h.io/x")


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("echo canary; exit 3", "failed with exit code 3"),
        ("echo canary", "could not be asked: no JSON came"),
        ("kill -9 $$", "failed with exit code -9"),
    ],
)
def test_a_helper_that_fails_is_a_note_without_what_it_said(home: Path, script: str, note: str) -> None:
    helper(home, "bad", script)
    docker(home, {"credsStore": "bad"})
    result = auth.find(parse("h.io/x"))
    assert result.credential is None
    assert result.notes == (f"docker-credential-bad {note}",)


@pytest.mark.parametrize("script", ["echo credentials not found in native keychain; exit 1", "echo '{}'", "echo '[]'"])
def test_a_helper_that_has_nothing_is_no_note(home: Path, script: str) -> None:
    helper(home, "empty", script)
    docker(home, {"credsStore": "empty", "auths": {"h.io": entry("me:pw")}})
    assert auth.find(parse("h.io/x")).notes == ()
    assert found("h.io/x") == "me:pw"


def test_a_helper_that_is_not_installed_is_a_note(home: Path) -> None:
    docker(home, {"credsStore": "desktop"})
    assert "docker-credential-desktop, which is not installed" in auth.find(parse("h.io/x")).notes[0]


# Challenges


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", ()),
        ("Basic", (Challenge("basic", {}),)),
        ('Basic realm="r"', (Challenge("basic", {"realm": "r"}),)),
        (
            'Bearer realm="https://a/token",service="s",scope="repository:a/b:pull,push"',
            (Challenge("bearer", {"realm": "https://a/token", "service": "s", "scope": "repository:a/b:pull,push"}),),
        ),
        ("bearer Realm=x , SERVICE = y", (Challenge("bearer", {"realm": "x", "service": "y"}),)),
        (
            'Basic realm="a, b", Bearer realm="c",service="d"',
            (Challenge("basic", {"realm": "a, b"}), Challenge("bearer", {"realm": "c", "service": "d"})),
        ),
        ('Bearer realm="a\\"b\\\\c"', (Challenge("bearer", {"realm": 'a"b\\c'}),)),
        ('Bearer realm="first",realm="second"', (Challenge("bearer", {"realm": "first"}),)),
        ('Bearer realm="never ends', (Challenge("bearer", {"realm": "never ends"}),)),
        ("Negotiate, Basic realm=x", (Challenge("negotiate", {}), Challenge("basic", {"realm": "x"}))),
        ('"', ()),
        ("=", ()),
    ],
)
def test_a_challenge_is_read(header: str, challenges: tuple[Challenge, ...]) -> None:
    assert parse_challenges(header) == challenges


@settings(database=None, deadline=None)
@given(st.text(alphabet='aB=", \\\t;/', max_size=40))
def test_any_header_is_read_to_its_end(header: str) -> None:
    parse_challenges(header)
