"""script/demo, the README's second command, on a checkout of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import CHECKOUT, take_networks_away
from support.images import Image
from support.people import Person, person, why_not
from support.registry import Hub


@pytest.fixture(params=["root", "user"])
def stranger(request: pytest.FixtureRequest, scratch: Path, word: str) -> Iterator[Person]:
    if reason := why_not(request.param) or (None if os.geteuid() == 0 else "needs root, to hide the registry"):
        pytest.skip(reason)
    (scratch / word).mkdir(mode=0o755)
    found = person(request.param, scratch / word / "home")
    yield found
    if found.is_root:
        take_networks_away(found.home / "root", found.home / "state")
    shutil.rmtree(scratch / word, ignore_errors=True)


@pytest.fixture
def checkout(stranger: Person) -> Path:
    copy = stranger.home / "crate"
    shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns("__pycache__", ".*", "tests", "bench"))
    for path in (copy, *copy.rglob("*")):
        os.chown(path, stranger.uid, stranger.gid)
    return copy


@pytest.mark.xdist_group("demo")
def test_the_demo_runs_where_no_registry_answers(stranger: Person, checkout: Path) -> None:
    (stranger.home / "hosts").write_text("127.0.0.1 localhost registry-1.docker.io\n")
    # Nobody listens on port 443 of loopback, so this is a registry that does not answer; pip goes its usual way.
    script = 'mount --bind "$1" /etc/hosts; shift; exec setpriv --reuid="$1" --regid="$2" --clear-groups "$3"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(stranger.home / "hosts"), str(stranger.uid), str(stranger.gid)]
    env = {"CRATE_ROOT": str(stranger.home / "root"), "CRATE_STATE": str(stranger.home / "state")}
    account = Person(stranger.name, os.geteuid(), os.getegid(), stranger.home)
    done = account.run([*argv, str(checkout / "script/demo")], env=env, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no registry gave alpine" in done.stdout
    assert "\nhello world\n" in done.stdout


@pytest.mark.xdist_group("demo")
def test_the_demo_pulls_alpine_from_docker_hub(stranger: Person, checkout: Path, hub: Hub, alpine_base: Image) -> None:
    """Where the hub of the tests answers there is no package index: what pip needs is installed before."""
    hub.push("library/alpine", "latest", alpine_base.as_docker())
    install = "/usr/bin/python3 -m venv .venv && .venv/bin/pip -q install hatchling . && .venv/bin/pip -q uninstall -y cratebox"
    before = stranger.run(["sh", "-c", f"cd {checkout} && {install}"], timeout=300)
    assert before.returncode == 0, before.stderr
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false"}  # false turns isolation off, as pip reads it
    places = {"CRATE_ROOT": str(stranger.home / "root"), "CRATE_STATE": str(stranger.home / "state")}
    account = Person(stranger.name, os.geteuid(), os.getegid(), stranger.home)
    argv = [*hub.names.prefix(stranger.uid, stranger.gid), str(checkout / "script/demo")]
    done = account.run(argv, env=hub.environment() | offline | places, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello from Alpine Linux v3.20, process 1 of" in done.stdout
    assert "\nhello world\n" in done.stdout
    assert "no registry gave alpine" not in done.stdout
