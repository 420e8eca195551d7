"""script/demo, the README's second command, on a checkout of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import CHECKOUT
from support.people import Person, person, why_not


@pytest.fixture(params=["root", "user"])
def stranger(request: pytest.FixtureRequest, scratch: Path, word: str) -> Iterator[Person]:
    if reason := why_not(request.param) or (None if os.geteuid() == 0 else "needs root, to hide the registry"):
        pytest.skip(reason)
    (scratch / word).mkdir(mode=0o755)
    found = person(request.param, scratch / word / "home")
    yield found
    shutil.rmtree(scratch / word, ignore_errors=True)


@pytest.mark.xdist_group("demo")
def test_the_demo_runs_where_no_registry_answers(stranger: Person) -> None:
    checkout = stranger.home / "crate"
    skipped = shutil.ignore_patterns("__pycache__", ".*", "tests", "bench")
    shutil.copytree(CHECKOUT, checkout, ignore=skipped)
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, stranger.uid, stranger.gid)
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
