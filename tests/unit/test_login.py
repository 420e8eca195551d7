"""Credentials as they are saved and deleted: in which file, under which name, by which helper."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.image import auth, login
from cratebox.image.auth import Credential
from cratebox.image.reference import parse, server

ME = Credential(username="me", password="pass:word")

# A helper that keeps what it is given in a file beside it, by server.
KEEPER = """#!/usr/bin/python3
import json, pathlib, sys
place = pathlib.Path(__file__).with_suffix(".json")
kept = json.loads(place.read_text()) if place.exists() else {}
given = sys.stdin.read()
if sys.argv[1] == "list":
    print(json.dumps({server: each["Username"] for server, each in kept.items()}))
elif sys.argv[1] == "store":
    said = json.loads(given)
    kept[said["ServerURL"]] = {"Username": said["Username"], "Secret": said["Secret"]}
elif given not in kept:
    print("credentials not found in native keychain")
    sys.exit(1)
elif sys.argv[1] == "erase":
    del kept[given]
else:
    print(json.dumps(kept[given] | {"ServerURL": given}))
place.write_text(json.dumps(kept))
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def install(home: Path, name: str, script: str = KEEPER) -> Path:
    program = write(home / f"bin/docker-credential-{name}", script)
    program.chmod(0o755)
    return program.with_suffix(".json")


def found(name: str) -> str | None:
    credential = auth.find(parse(name)).credential
    return None if credential is None else f"{credential.username}:{credential.password}"


def keys(path: Path) -> set[str]:
    return set(json.loads(path.read_text())["auths"])


def test_what_is_saved_is_found(home: Path) -> None:
    saved = login.save(server("h.io:5000"), ME)
    assert saved == login.Saved(str(home / ".docker/config.json"), helper=False)
    assert found("h.io:5000/x") == "me:pass:word"


def test_only_the_owner_can_read_it(home: Path) -> None:
    login.save(server("h.io"), ME)
    for path, mode in ((home / ".docker/config.json", 0o600), (home / ".docker", 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_file_that_others_could_read_is_closed(home: Path) -> None:
    path = write(home / ".docker/config.json", {})
    path.chmod(0o644)
    login.save(server("h.io"), ME)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_else_the_file_says_stays(home: Path) -> None:
    path = write(home / ".docker/config.json", {"proxies": {"default": {}}, "auths": {"other.io": {"auth": "eDp5"}}})
    login.save(server("h.io"), ME)
    assert json.loads(path.read_text())["proxies"] == {"default": {}}
    assert found("other.io/x") == "x:y"


def test_a_link_to_the_file_stays_a_link(home: Path) -> None:
    path = write(home / "dotfiles/docker.json", {})
    (home / ".docker").mkdir()
    (home / ".docker/config.json").symlink_to(path)
    login.save(server("h.io"), ME)
    assert (home / ".docker/config.json").is_symlink()
    assert keys(path) == {"h.io"}


def test_it_goes_where_something_for_the_registry_is_already(home: Path) -> None:
    """What is found first wins: saved elsewhere, it would change nothing."""
    podman = write(home / "run/containers/auth.json", {"auths": {"h.io": {"auth": "b2xkOm9sZA=="}}})
    login.save(server("h.io"), ME)
    assert found("h.io/x") == "me:pass:word"
    assert keys(podman) == {"h.io"}
    assert not (home / ".docker").exists()


def test_the_file_of_the_environment_is_the_only_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "mine/auth.json"))
    login.save(server("h.io"), ME)
    assert os.listdir(home) == ["mine"]


@pytest.mark.parametrize(("path", "key"), [(".docker/config.json", auth.HUB_KEY), ("config/containers/auth.json", "docker.io")])
def test_docker_hub_has_the_name_that_the_files_owner_has_for_it(home: Path, path: str, key: str) -> None:
    write(home / path, {"auths": {"https://index.docker.io/v1/": {}, "docker.io": {"auth": "b2xkOm9sZA=="}}})
    login.save(server("docker.io"), ME)
    assert keys(home / path) == {key}
    assert found("alpine") == "me:pass:word"


@pytest.mark.parametrize("text", ["https://h.io/v2/", "http://h.io", "h.io/", "h.io/v1"])
def test_an_address_is_a_registry_too(home: Path, text: str) -> None:
    login.save(server(text), ME)
    assert keys(home / ".docker/config.json") == {"h.io"}


def test_a_place_in_a_registry_has_a_credential_of_its_own() -> None:
    login.save(server("h.io/team"), ME)
    assert found("h.io/team/app") == "me:pass:word"
    assert found("h.io/other") is None


@pytest.mark.parametrize("text", ["", "a b", "h.io:port", "h.io/UPPER", "h.io/../x", "user@h.io", "-u"])
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        server(text)


def test_a_file_that_is_no_json_is_left_alone(home: Path) -> None:
    path = write(home / ".docker/config.json", "{")
    with pytest.raises(InvalidValue, match="is not JSON"):
        login.save(server("h.io"), ME)
    assert path.read_text() == "{"


def test_nothing_is_left_where_it_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home / ".docker/config.json", {"auths": {}})

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        login.save(server("h.io"), ME)
    assert os.listdir(path.parent) == ["config.json"]
    assert keys(path) == set()


def test_many_at_once_lose_none(home: Path) -> None:
    children = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                login.save(server(f"h{number}.io"), ME)
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert keys(home / ".docker/config.json") == {f"h{number}.io" for number in range(8)}


@pytest.mark.parametrize("document", [{"credsStore": "keeper"}, {"credHelpers": {"h.io": "keeper"}, "credsStore": "nothing"}])
def test_a_helper_keeps_it_and_the_file_has_no_secret(home: Path, document: dict[str, Any]) -> None:
    kept = install(home, "keeper")
    path = write(home / ".docker/config.json", document)
    saved = login.save(server("h.io"), ME)
    assert saved.helper
    assert json.loads(kept.read_text()) == {"h.io": {"Username": "me", "Secret": "pass:word"}}
    assert json.loads(path.read_text()) == {**document, "auths": {"h.io": {}}}
    assert found("h.io/x") == "me:pass:word"
    assert login.forget(server("h.io")) == (str(path),)
    assert json.loads(kept.read_text()) == {}


def test_a_helper_knows_docker_hub_by_its_address(home: Path) -> None:
    kept = install(home, "keeper")
    write(home / ".docker/config.json", {"credsStore": "keeper"})
    login.save(server("docker.io"), ME)
    assert set(json.loads(kept.read_text())) == {auth.HUB_KEY}


def test_a_helper_that_fails_changes_nothing_and_its_words_are_not_repeated(home: Path) -> None:
    install(home, "bad", "#!/bin/sh\ncat\nexit 3\n")
    path = write(home / ".docker/config.json", {"credsStore": "bad"})
    with pytest.raises(StorageError, match="failed with exit code 3") as caught:
        login.save(server("h.io"), ME)
    assert "pass:word" not in str(caught.value)
    assert json.loads(path.read_text()) == {"credsStore": "bad"}


def test_a_helper_that_is_not_there_is_said(home: Path) -> None:
    write(home / ".docker/config.json", {"credsStore": "nowhere"})
    with pytest.raises(NotFound, match="docker-credential-nowhere, which is not installed"):
        login.save(server("h.io"), ME)
    assert login.forget(server("h.io")) == ()


def test_a_helper_whose_name_is_a_path_runs_nothing(home: Path) -> None:
    write(home / ".docker/config.json", {"credsStore": "../../evil"})
    with pytest.raises(InvalidValue, match="helper"):
        login.save(server("h.io"), ME)


def test_it_is_forgotten_in_all_files(home: Path) -> None:
    entry = {"auth": "b2xkOm9sZA=="}
    paths = [
        write(home / place, {"auths": {"h.io": entry, "https://h.io/v1/": entry, "other.io": entry}})
        for place in ("run/containers/auth.json", "config/containers/auth.json", ".docker/config.json")
    ]
    assert login.forget(server("h.io")) == tuple(map(str, paths))
    assert [keys(path) for path in paths] == [{"other.io"}] * 3
    assert login.forget(server("h.io")) == ()


def test_forgetting_what_is_nowhere_makes_no_file(home: Path) -> None:
    assert login.forget(server("h.io")) == ()
    assert os.listdir(home) == []


def test_all_are_forgotten_in_all_files_and_by_all_helpers(home: Path) -> None:
    kept = [install(home, name) for name in ("one", "two")]
    first = write(home / "run/containers/auth.json", {"auths": {"a.example/team": {"auth": "eDp5"}, "b.example": {}}})
    second = write(home / ".docker/config.json", {"credsStore": "one", "credHelpers": {"c.example": "two"}, "other": 1})
    for name in ("b.example", "c.example", "docker.io"):
        login.save(server(name), ME, str(second))
    assert [len(json.loads(path.read_text())) for path in kept] == [2, 1]
    assert login.forget_all() == (str(first), str(second))
    assert [json.loads(path.read_text()) for path in kept] == [{}, {}]
    assert (keys(first), keys(second)) == (set(), set())
    document = json.loads(second.read_text())
    assert (document["other"], document["credHelpers"]) == (1, {"c.example": "two"})
    assert login.forget_all() == ()


@pytest.mark.parametrize("said", ["echo no; exit 3", "echo '[1]'", "echo words"])
def test_a_helper_that_cannot_list_is_said(home: Path, said: str) -> None:
    install(home, "odd", f"#!/bin/sh\n{said}\n")
    path = write(home / ".docker/config.json", {"credsStore": "odd", "auths": {"a.example": {"auth": "eDp5"}}})
    with pytest.raises(StorageError, match="docker-credential-odd"):
        login.forget_all()
    assert keys(path) == {"a.example"}


def test_a_file_that_is_named_is_the_only_one(home: Path) -> None:
    named = home / "named.json"
    login.save(server("a.example"), ME)
    assert login.save(server("a.example"), ME, str(named)).where == str(named)
    assert login.forget(server("a.example"), str(named)) == (str(named),)
    assert found("a.example/x") == "me:pass:word"
