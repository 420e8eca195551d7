"""registries.conf and policy.json of a user, by the command, with a real registry."""

from __future__ import annotations

import json

import pytest

from support.commands import Crate
from support.images import Image
from support.registry import Registry


@pytest.fixture
def name(registry: Registry, busybox_base: Image, word: str) -> str:
    """busybox in the registry, below a mirror's path and at its own place, where it is never looked for."""
    registry.push(f"{word}/mirror/box", "1", busybox_base)
    return registry.push(f"{word}/box", "1", busybox_base)


def write(crate: Crate, name: str, text: str) -> str:
    """Write a file of this user's settings for containers; return its path."""
    path = crate.person.home / ".config/containers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def mirrored(crate: Crate, registry: Registry, word: str) -> None:
    write(
        crate,
        "registries.conf",
        f"""
        [[registry]]
        prefix = "reg.test"
        location = "{registry.address}/{word}"
        [[registry.mirror]]
        location = "{registry.address}/{word}/mirror"
        [aliases]
        "mybox" = "reg.test/box"
        """,
    )


def policy(crate: Crate, default: str, **scopes: str) -> str:
    document = {
        "default": [{"type": default}],
        "transports": {"docker": {scope: [{"type": kind}] for scope, kind in scopes.items()}},
    }
    return write(crate, "policy.json", json.dumps(document))


def test_an_image_comes_from_a_mirror_under_its_own_name(crate: Crate, registry: Registry, name: str, word: str) -> None:
    mirrored(crate, registry, word)
    said = crate.ok("pull", "reg.test/box:1")
    assert f"reading from the mirror {registry.address}/{word}/mirror/box" in said
    assert said.splitlines()[-1] == "reg.test/box:1"
    assert crate.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == "reg.test/box:1"
    assert f"GET /v2/{word}/box/" not in registry.log()


def test_a_tag_that_the_mirror_lacks_comes_from_the_registry(
    crate: Crate, registry: Registry, name: str, word: str, busybox_base: Image
) -> None:
    registry.push(f"{word}/box", "2", busybox_base)
    mirrored(crate, registry, word)
    said = crate.ok("pull", "reg.test/box:2")
    assert f"the mirror {registry.address}/{word}/mirror/box is left out: " in said
    assert crate.ok("run", "--rm", "--pull", "never", "reg.test/box:2", "echo", "x") == "x"


def test_an_alias_is_pulled_run_and_removed_under_its_full_name(crate: Crate, registry: Registry, name: str, word: str) -> None:
    mirrored(crate, registry, word)
    assert crate.ok("run", "--rm", "mybox:1", "echo", "x") == "x"
    assert crate.ok("pull", "-q", "mybox:1") == "reg.test/box:1"
    assert json.loads(crate.ok("inspect", "mybox:1"))[0]["RepoTags"] == ["reg.test/box:1"]
    assert crate.ok("rmi", "mybox:1").splitlines()[0] == "Untagged: reg.test/box:1"
    assert crate.ok("images", "-q") == ""


def test_a_blocked_name_is_neither_pulled_nor_run(crate: Crate, registry: Registry, name: str, word: str) -> None:
    path = write(crate, "registries.conf", f'[[registry]]\nlocation = "{registry.address}/{word}"\nblocked = true\n')
    for words in (("pull", name), ("run", "--rm", name, "true"), ("create", name)):
        done = crate(*words)
        assert done.returncode == 125
        assert done.stderr == f"crate {words[0]}: {name}: {registry.address}/{word} is blocked in {path}\n"
    assert f"/v2/{word}/" not in _gets(registry)


def test_a_policy_lets_in_what_its_closest_scope_accepts(crate: Crate, registry: Registry, name: str, word: str) -> None:
    path = policy(crate, "reject")
    done = crate("pull", name)
    assert (done.returncode, done.stderr) == (125, f"crate pull: {name}: {path} rejects it\n")
    assert f"/v2/{word}/" not in _gets(registry)
    policy(crate, "reject", **{f"{registry.address}/{word}": "insecureAcceptAnything"})
    crate.ok("pull", name)
    assert f"/v2/{word}/" in _gets(registry)
    policy(crate, "reject")
    assert crate.ok("run", "--rm", name, "echo", "x") == "x"  # it is in the store, and was let in


def test_a_policy_counts_for_archives_and_layouts(crate: Crate, busybox_image) -> None:
    path = policy(crate, "reject")
    for name in (str(busybox_image), busybox_image.docker_archive, busybox_image.oci_archive):
        done = crate("pull", name)
        assert done.returncode == 125
        assert done.stderr.endswith(f"{path} rejects it\n")
        assert crate("run", "--rm", name, "true").returncode == 125
    assert crate.ok("images", "-q") == ""


def test_a_policy_counts_for_load_and_import(crate: Crate, busybox_image) -> None:
    archive = busybox_image.docker_archive.partition(":")[2]
    path = policy(crate, "reject")
    assert crate.fails("load", "-i", archive).endswith(f"{path} rejects it\n")
    assert crate.fails("import", archive, "made") == f"crate import: {archive}: {path} rejects it\n"
    with open(archive, "rb") as given:
        assert crate.fails("import", "-", "made", stdin=given) == f"crate import: standard input: {path} rejects it\n"
    assert crate.ok("images", "-q") == ""
    accept = [{"type": "insecureAcceptAnything"}]
    transports = {"tarball": {"": accept}, "docker-archive": {"": accept}}
    write(crate, "policy.json", json.dumps({"default": [{"type": "reject"}], "transports": transports}))
    crate.ok("import", archive, "made")
    crate.ok("load", "-q", "-i", archive)


def test_artifacts_are_read_from_mirrors_and_not_from_blocked_places(
    crate: Crate, registry: Registry, name: str, word: str
) -> None:
    (crate.person.home / "words").write_text("hello")
    crate.ok("artifact", "push", "-q", f"{registry.address}/{word}/mirror/file:1", "words")
    mirrored(crate, registry, word)
    assert crate.ok("artifact", "pull", "-q", "-o", "out", "reg.test/file:1") == "out/words"
    assert "reading from the mirror" in crate.ok("artifact", "pull", "-f", "-o", "out", "reg.test/file:1")
    assert crate.json("artifact", "inspect", "reg.test/file:1")[0]["Size"] > 0
    assert crate.ok("artifact", "ls", "-q", "reg.test/file:1") == ""
    assert f"GET /v2/{word}/file/" not in registry.log()
    path = write(crate, "registries.conf", '[[registry]]\nprefix = "reg.test"\nblocked = true\n')
    for words in (["pull", "-o", "again"], ["ls"], ["rm"], ["inspect"]):
        done = crate("artifact", *words, "reg.test/file:1")
        assert done.returncode in (1, 125)
        assert f"reg.test is blocked in {path}" in done.stderr
    assert not (crate.person.home / "again").exists()


def test_a_file_that_begins_with_a_dot_is_not_written_unasked(crate: Crate, registry: Registry, word: str) -> None:
    (crate.person.home / ".profile-of-somebody").write_text("hello")
    target = f"{registry.address}/{word}/dots:1"
    crate.ok("artifact", "push", "-q", target, ".profile-of-somebody")
    said = crate.fails("artifact", "pull", "-o", "out", target)
    assert "has the file .profile-of-somebody" in said
    assert "--dotfiles" in said
    assert not (crate.person.home / "out").exists()
    assert crate.ok("artifact", "pull", "-q", "--dotfiles", "-o", "out", target) == "out/.profile-of-somebody"


@pytest.mark.parametrize("kind", ["signedBy", "sigstoreSigned"])
def test_a_signature_that_is_asked_for_is_refused_by_name(crate: Crate, name: str, kind: str) -> None:
    path = policy(crate, kind)
    done = crate("pull", name)
    assert done.returncode == 125
    assert f"{name}: {path} wants a signature ({kind}), which crate cannot check\n" in done.stderr


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("registries.conf", "[[registry]"), ("registries.conf", "[registries.search]\nregistries = ['a.io']\n"),
        ("registries.conf", "[[registry]]\nlocation = 'a.io'\nblock = true\n"),
        ("registries.conf.d/x.conf", "[aliases]\nx = 'y'\n[[registry]]\nlocation = 'a.io'\n"),
        ("policy.json", "{"), ("policy.json", '{"defalt": [{"type": "reject"}]}'),
    ],
)  # fmt: skip
def test_a_file_that_is_not_understood_ends_a_pull_in_one_line(rootful: Crate, name: str, file: str, text: str) -> None:
    path = write(rootful, file, text)
    done = rootful("pull", name)
    assert done.returncode == 125
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"crate pull: {path}")
    assert all(line.startswith("  hint: ") for line in rest)
    assert rootful.ok("images", "-q") == ""
    assert "WARNING: no image can be pulled: " in rootful.ok("info")


def test_info_tells_what_was_found(crate: Crate) -> None:
    registries = write(
        crate,
        "registries.conf",
        '[[registry]]\nlocation="docker.io"\n[[registry.mirror]]\nlocation="mirror.test/hub"\n'
        '[[registry]]\nlocation="plain.test"\ninsecure=true\n[[registry]]\nlocation="bad.test"\nblocked=true\n',
    )
    rules = policy(crate, "reject", **{"docker.io": "insecureAcceptAnything"})
    document = json.loads(crate.ok("info", "-f", "json"))
    hub = document["RegistryConfig"]["IndexConfigs"]["docker.io"]
    assert hub == {"Name": "docker.io", "Mirrors": ["mirror.test/hub"], "Secure": True, "Official": True}
    assert document["RegistryConfig"]["IndexConfigs"]["plain.test"]["Secure"] is False
    assert document["BlockedRegistries"] == ["bad.test"]
    assert document["ImagePolicy"] == {"File": rules, "Default": "reject", "Scopes": 1}
    assert registries in document["RegistryFiles"]
    said = crate.ok("info")
    assert f"Image Policy: reject, 1 scopes of their own ({rules})" in said
    for line in (" plain.test", " mirror.test/hub", " bad.test", f" {registries}"):
        assert line in said.splitlines()


def _gets(registry: Registry) -> str:
    """Return the lines of reading requests alone: the push that filled the registry asks too."""
    return "\n".join(line for line in registry.log().splitlines() if '"GET ' in line)
