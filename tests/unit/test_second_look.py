"""What failed in a whole run is looked at again, and passes only where it always does (support/second_look.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import second_look

TEST = """
from pathlib import Path

def test_it():
    runs = Path(__file__).with_name("runs")
    runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
    assert len(runs.read_text()) not in {fails}
"""


def looked(tmp_path: Path, names: list[str]) -> int:
    (tmp_path / "v/cache").mkdir(parents=True)
    (tmp_path / "v/cache/lastfailed").write_text(json.dumps(dict.fromkeys(names, True)))
    return second_look.main(str(tmp_path))


@pytest.mark.parametrize(("fails", "code"), [((), 0), ((1,), 1), ((3,), 1)])
def test_what_fails_once_more_has_failed(tmp_path: Path, capfd, fails: tuple[int, ...], code: int) -> None:
    (tmp_path / "test_one.py").write_text(TEST.replace("{fails}", repr(fails)))
    assert looked(tmp_path, [f"{tmp_path}/test_one.py::test_it@docker"]) == code
    assert ("UNSTABLE" in capfd.readouterr().out) is (code == 0)


@pytest.mark.parametrize(
    "names", [[], ["a.py::a", "a.py::b", "a.py::c", "a.py::d"], ["a.py"]], ids=["nothing", "many", "a file that is wrong"]
)
def test_what_is_no_accident_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    monkeypatch.setattr(second_look, "passes_again", lambda _tests: pytest.fail("looked again"))
    assert looked(tmp_path, names) == 1


def test_without_a_cache_it_has_failed(tmp_path: Path) -> None:
    assert second_look.main(str(tmp_path)) == 1


def test_a_test_is_named_without_its_group(tmp_path: Path) -> None:
    (tmp_path / "v/cache").mkdir(parents=True)
    names = ["tests/a.py::test_b[x@y.z]@docker", "tests/a.py::test_c[x@y]"]
    (tmp_path / "v/cache/lastfailed").write_text(json.dumps(dict.fromkeys(names, True)))
    assert second_look.failed(tmp_path) == ["tests/a.py::test_b[x@y.z]", "tests/a.py::test_c[x@y]"]
