"""What one command says of its registry, beside the settings: --authfile, --creds, --cert-dir, --tls-verify; login, logout."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import authority
from support import registry as registries
from support.commands import Crate
from support.images import Image
from support.registry import PASSWORD, USER, Registry

CREDS = f"--creds={USER}:{PASSWORD}"


@pytest.fixture(scope="module")
def closed(scratch: Path) -> Iterator[Registry]:
    """A registry that wants the name and the password."""
    if reason := registries.why_not():
        pytest.skip(reason)
    with registries.basic(scratch / f"closed-{os.urandom(3).hex()}") as running:
        yield running


@pytest.fixture(scope="module")
def sealed(scratch: Path) -> Iterator[Registry]:
    """A registry with TLS, whose authority nobody trusts: it is beside, `sealed.directory / "authority.pem"`."""
    if reason := registries.why_not():
        pytest.skip(reason)
    directory = scratch / f"sealed-{os.urandom(3).hex()}"
    directory.mkdir()
    authority.make(directory, ("localhost",))
    for path in directory.iterdir():
        path.chmod(0o644)
    tls = {"certificate": str(directory / "server.pem"), "key": str(directory / "server.key")}
    with Registry(directory, settings={"http": {"tls": tls}}) as running:
        yield running


@pytest.fixture
def secret(closed: Registry, busybox_base: Image, word: str) -> str:
    return closed.push(f"{word}/app", "1", busybox_base)


def authfile(crate: Crate, registry: Registry, name: str = "own.json") -> Path:
    path = crate.person.home / name
    crate.ok("login", "-u", USER, "--password-stdin", "--authfile", path, registry.address, input=PASSWORD)
    return path


def test_who_somebody_is_can_be_said_to_one_pull(crate: Crate, secret: str) -> None:
    assert "crate login" in crate.fails("pull", secret)
    assert crate.ok("pull", "-q", CREDS, secret) == secret
    assert "crate login" in crate.fails("manifest", "inspect", secret)
    assert "check the user name" in (said := crate.fails("pull", f"--creds={USER}:wrong-canary", secret.replace(":1", ":2")))
    assert "wrong-canary" not in said


def test_a_file_of_credentials_counts_alone(crate: Crate, closed: Registry, secret: str, word: str) -> None:
    path = authfile(crate, closed)
    assert path.stat().st_mode & 0o777 == 0o600
    crate.ok("pull", "-q", "--authfile", path, secret)
    crate.ok("push", "-q", "--authfile", path, secret, f"{closed.address}/{word}/other:2")
    assert crate.ok("search", "--list-tags", "--authfile", path, "--format={{.Tag}}", f"{closed.address}/{word}/other") == "2"
    assert "crate login" in crate.fails("push", secret, f"{closed.address}/{word}/other:3")
    crate.ok("login", "-u", USER, "--password-stdin", closed.address, input=PASSWORD)
    (crate.person.home / "empty.json").write_text("{}")
    assert "crate login" in crate.fails("pull", "--authfile", "empty.json", secret)
    assert "no file of credentials" in crate.fails("pull", "--authfile", "nowhere.json", secret)


def test_a_list_of_manifests_and_an_artifact_take_the_same_flags(
    crate: Crate, secret: str, closed: Registry, word: str
) -> None:
    crate.ok("manifest", "create", CREDS, "list", secret)
    crate.ok("manifest", "push", "-q", CREDS, "list", many := f"{closed.address}/{word}/list:1")
    assert len(json.loads(crate.ok("manifest", "inspect", CREDS, many))["manifests"]) == 1
    (crate.person.home / "words").write_text("x")
    name = f"{closed.address}/{word}/file:1"
    crate.ok("artifact", "push", "-q", CREDS, name, "words")
    assert crate.ok("artifact", "pull", "-q", CREDS, "-o", "out", name) == "out/words"
    assert crate.ok("artifact", "inspect", CREDS, "--format={{(index .Files 0).Size}}", name) == "1"
    assert crate.ok("artifact", "ls", "-q", CREDS, secret) == ""
    assert "crate login" in crate.fails("artifact", "pull", "-o", "again", name)
    assert crate.ok("artifact", "rm", CREDS, name).startswith("Deleted: sha256:")


def test_login_tells_who_somebody_is_and_where_that_is_kept(crate: Crate, closed: Registry) -> None:
    assert "not logged in" in crate.fails("login", "--get-login", closed.address)
    path = authfile(crate, closed)
    assert crate.ok("login", "--get-login", "--authfile", path, closed.address) == USER
    assert "not logged in" in crate.fails("login", "--get-login", closed.address)
    said = crate.ok("login", "-v", "-u", USER, "--password-stdin", "--authfile", path, closed.address, input=PASSWORD)
    assert said.splitlines() == [f"Used: {path}", "Login Succeeded"]
    assert crate.ok("login", "--authfile", path, closed.address) == "Login Succeeded"


def test_a_login_that_is_refused_keeps_nothing(crate: Crate, closed: Registry) -> None:
    words = ("login", "-u", USER, "--password-stdin", "--authfile", "refused.json", closed.address)
    assert "was refused" in crate.fails(*words, input="wrong-canary")
    assert not (crate.person.home / "refused.json").exists()


def test_a_registry_that_lets_everybody_in_has_checked_nothing(crate: Crate, registry: Registry) -> None:
    said = crate.ok("login", "-u", "x", "--password-stdin", "--authfile", "open.json", registry.address, input="y")
    assert said == f"Login kept, not checked: {registry.address} lets everybody in without asking"
    assert crate.ok("login", "--get-login", "--authfile", "open.json", registry.address) == "x"


def test_logout_forgets_one_or_all(crate: Crate, closed: Registry) -> None:
    path = authfile(crate, closed)
    document = json.loads(path.read_text())
    document["auths"] |= {"other.example/team": {"auth": "eDp5"}, "https://index.docker.io/v1/": {"auth": "eDp5"}}
    path.write_text(json.dumps(document))
    crate.ok("logout", "--authfile", path, closed.address)
    assert set(json.loads(path.read_text())["auths"]) == {"other.example/team", "https://index.docker.io/v1/"}
    assert crate.ok("logout", "--all", "--authfile", path) == f"Removed all credentials from {path}"
    assert json.loads(path.read_text())["auths"] == {}
    assert crate.ok("logout", "-a", "--authfile", path) == "Not logged in to any registry"
    assert "takes no REGISTRY" in crate.fails("logout", "--all", closed.address)


def test_a_certificate_that_nobody_vouches_for(
    crate: Crate, sealed: Registry, busybox_image: object, tmp_path: Path, word: str
) -> None:
    name = f"{sealed.address.replace('127.0.0.1', 'localhost')}/{word}/app:1"
    crate.ok("pull", "-q", str(busybox_image))
    image = crate.ok("images", "-q")
    assert "not trusted" in crate.fails("push", image, name)
    crate.ok("push", "-q", "--tls-verify=false", image, name)
    assert "not trusted" in crate.fails("manifest", "inspect", name)
    crate.ok("manifest", "inspect", "--insecure", name)
    certificates = crate.person.home / "certificates"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes((sealed.directory / "authority.pem").read_bytes())
    crate.ok("pull", "-q", "--cert-dir", "certificates", name)
    assert "no directory of certificates" in crate.fails("pull", "--cert-dir", "nowhere", name)
    assert "not trusted" in crate.fails("pull", name)


def test_plain_http_is_refused_where_tls_is_wanted(crate: Crate, registry: Registry, busybox_base: Image, word: str) -> None:
    name = registry.push(word, "1", busybox_base)
    settings = crate.directory.parent / "settings.toml"
    settings.write_text(f'[images]\nsettle = "never"\n[registries]\ninsecure = ["{registry.address}"]\n')
    assert "127.0.0.1" in crate.fails("pull", "--tls-verify", name)
    assert "127.0.0.1" in crate.fails("login", "--tls-verify=true", "-u", "x", "--password-stdin", registry.address, input="y")
    crate.ok("pull", "-q", name)


def test_what_is_no_credential_is_refused_and_not_repeated(rootful: Crate) -> None:
    for text in ("canary", ":canary", "canary:", "a\tcanary:b"):
        said = rootful.fails("pull", f"--creds={text}", "example.com/app")
        assert "NAME:PASSWORD" in said
        assert "canary" not in said


def test_the_tags_of_a_repository_are_listed(crate: Crate, registry: Registry, busybox_base: Image, word: str) -> None:
    for tag in ("1", "2", "10"):
        name = registry.push(word, tag, busybox_base).rpartition(":")[0]
    listed = [line.split() for line in crate.ok("search", "--list-tags", name).splitlines()]
    assert listed[0] == ["NAME", "TAG"]
    assert sorted(listed[1:]) == [[name, "1"], [name, "10"], [name, "2"]]
    assert len(crate.ok("search", "--list-tags", "--limit=2", "--format={{.Tag}}", name).splitlines()) == 2
    assert "has a tag or a digest: --list-tags" in crate.fails("search", "--list-tags", f"{name}:1")
    assert "--filter" in crate.fails("search", "--list-tags", "--filter=stars=1", name)
    assert "has no repository" in crate.fails("search", "--list-tags", f"{name}/nothing")
