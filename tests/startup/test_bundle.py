"""The bundle of compiled modules: made by the first command, checked at every start, never needed."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cratebox
from cratebox import _bundle, _entry

OLDER = marshal.dumps((0, 0, {}))  # the length of the rest, how many modules are usual, modules
VERSION = f"Version: {cratebox.__version__}"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package where an installation would have it."""
    source = Path(cratebox.__file__).parent
    copy = tmp_path / "site-packages/cratebox"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__pycache__").mkdir()
    return copy


def crate(package: Path, *args: str, **env: str) -> str:
    command = [sys.executable, "-I", "-S", str(package / "_entry.py"), "crate", *args]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def bundle(package: Path) -> Path:
    return package / f"__pycache__/crate.{sys.implementation.cache_tag}.bundle"


def test_the_first_command_makes_it(package) -> None:
    assert VERSION in crate(package, "version")
    assert bundle(package).stat().st_size > 100_000


def test_a_second_command_runs_from_it(package) -> None:
    crate(package, "version")
    made = bundle(package).stat().st_mtime_ns
    for source in package.rglob("*.pyc"):
        source.unlink()
    assert VERSION in crate(package, "version")
    assert bundle(package).stat().st_mtime_ns == made
    assert not list((package / "runtime").glob("__pycache__/init.*"))  # nobody had to look at the sources


def test_a_source_that_changed_makes_it_stale(package) -> None:
    crate(package, "version")
    text = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text(text.replace(cratebox.__version__, "9.9.9-changed"))
    assert "9.9.9-changed" in crate(package, "version")
    assert "9.9.9-changed" in crate(package, "version")


@pytest.mark.parametrize("content", [b"", b"junk", b"\x00" * 1000, len(OLDER).to_bytes(8, "little") + OLDER])
def test_a_damaged_one_is_made_anew(package, content) -> None:
    crate(package, "version")
    bundle(package).write_bytes(content)
    assert VERSION in crate(package, "version")
    assert bundle(package).stat().st_size > 100_000


def test_a_module_of_it_that_is_damaged_is_read_from_its_source_and_all_made_anew(package) -> None:
    crate(package, "version")
    whole = bundle(package).read_bytes()
    bundle(package).write_bytes(whole[: len(whole) // 3] + bytes(len(whole) - len(whole) // 3))
    assert "crate run" in crate(package, "run", "--help")
    assert bundle(package).read_bytes() == whole


def test_debugging_does_without(package) -> None:
    crate(package, "version", CRATE_DEBUG="1")
    assert not bundle(package).exists()


def test_a_checkout_has_none(package, tmp_path) -> None:
    checkout = tmp_path / "src/cratebox"
    package.rename(tmp_path / "moved")
    checkout.parent.mkdir()
    (tmp_path / "moved").rename(checkout)
    crate(checkout, "version")
    assert not bundle(checkout).exists()


def test_a_place_that_cannot_be_written_to_is_no_hindrance(package) -> None:
    (package / "__pycache__").rmdir()
    (package / "__pycache__").write_text("in the way")  # root can write to any directory; this is none
    assert VERSION in crate(package, "version")


def test_nobody_else_can_write_to_it_whatever_the_umask(package) -> None:
    before = os.umask(0)
    try:
        crate(package, "version")
    finally:
        os.umask(before)
    assert bundle(package).stat().st_mode & 0o777 == 0o644


def test_one_that_others_can_write_to_is_not_run(package) -> None:
    crate(package, "version")
    made = bundle(package).stat().st_ino
    bundle(package).chmod(0o666)
    assert VERSION in crate(package, "version")
    assert bundle(package).stat().st_ino != made


def test_all_of_it_is_loaded_at_once_by_a_command_that_starts_something(package) -> None:
    crate(package, "version")
    for source in package.rglob("*.pyc"):
        source.unlink()
    assert "crate run" in crate(package, "run", "--help")
    assert not list((package / "runtime").glob("__pycache__/init.*"))


@pytest.mark.parametrize(
    ("command", "verb"), [(command, verbs.split()[-1]) for command, groups in _bundle.ROOTS.items() for verbs in groups]
)
def test_what_a_verb_always_wants_is_loaded_past_the_import_system(package, tmp_path, command: str, verb: str) -> None:
    python = (sys.executable, "-I", "-S", "-X", "importtime", str(package / "_entry.py"), command)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "CRATE_ROOT": str(tmp_path / "r"),
        "CRATE_STATE": str(tmp_path / "s"),
    }
    state = ("--root", str(tmp_path / "s")) if command == "crate-oci" else ()
    subprocess.run((*python, "--version"), capture_output=True, timeout=60, env=env, check=True)
    done = subprocess.run((*python, *state, verb, "nobody"), capture_output=True, text=True, timeout=60, env=env)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "os" in imported  # what is not of crate is seen
    assert imported.isdisjoint(next(roots for verbs, roots in _bundle.ROOTS[command].items() if verb in verbs.split()))


@pytest.mark.parametrize(
    ("uid", "words", "wanted"),
    [
        (0, ("run", "--rm", "alpine"), True),
        (0, ("start", "web"), True),
        (0, ("run", "--network", "none", "alpine"), False),
        (0, ("run", "--net=host", "alpine"), False),
        (1000, ("run", "--rm", "alpine"), False),  # an ordinary user's networks are made by others
        (0, ("create", "alpine"), False),
    ],
)
def test_what_a_bridge_wants_is_loaded_at_once_where_there_will_be_one(package, monkeypatch, uid, words, wanted) -> None:
    crate(package, "version")
    found = _entry._read_bundle(str(package), str(bundle(package)))
    assert found
    loaded = []
    monkeypatch.setattr(found, "_load_one", lambda name, _file: loaded.append(name))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    found.load(list(words))
    assert ("cratebox.network.endpoints" in loaded) == wanted
    assert loaded[0] == "cratebox"
    assert len(set(loaded)) == len(loaded)
