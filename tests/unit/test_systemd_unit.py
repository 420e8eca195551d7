"""Units for systemd: what is in them, and that nothing else can get into them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cratebox.engine import systemd_unit
from cratebox.engine.systemd_unit import Unit, of_container, of_system, word

HOSTILE = ["a\nExecStartPre=/bin/evil", "50%", "$HOME", 'x" y', "back\\slash", "\x1b[31m", "ü", " ", ""]


def settings(unit: str) -> list[str]:
    return [line.partition("=")[0] for line in unit.splitlines() if line and not line.startswith("[")]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_word_becomes_a_setting_a_specifier_or_a_variable(text: str) -> None:
    unit = of_container(Unit(("/usr/bin/crate", "--root", "/r" + text), "web", "Container " + text, "/r" + text))
    plain = of_container(Unit(("/usr/bin/crate", "--root", "/r"), "web", "Container", "/r"))
    assert settings(unit) == settings(plain)
    commands = "".join(line for line in unit.splitlines() if line.startswith("Exec"))
    assert "$HOME" not in commands.replace("$$HOME", "")
    assert "50%" not in unit.replace("50%%", "")


def test_words_are_quoted_as_systemd_reads_them() -> None:
    assert word("/usr/bin/crate") == "/usr/bin/crate"
    assert word("a b") == '"a b"'
    assert word('say "x"') == '"say \\"x\\""'
    assert word("a\n") == '"a\\x0a"'
    assert word("") == '""'


def test_a_container_that_may_take_for_ever_to_stop_is_waited_for() -> None:
    unit = of_container(Unit(("crate",), "web", "x", "/r", stop_timeout=-1))
    assert "TimeoutStopSec=infinity" in unit
    assert "stop --timeout -1 web" in unit


def test_an_ordinary_users_unit_is_for_his_own_manager() -> None:
    assert "WantedBy=default.target" in of_system(("crate",), "/r", rootless=True)
    assert "WantedBy=multi-user.target" in of_system(("crate",), "/r", rootless=False)


@pytest.mark.parametrize("text", ["", " %d", '"'])
def test_systemd_takes_the_units(tmp_path: Path, text: str) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    root = tmp_path / ("r" + text)
    root.mkdir()
    command = ("/bin/true", "--root", str(root))
    for name, unit in (
        ("container.service", of_container(Unit(command, "web", "Container web" + text, str(root)))),
        ("crate.service", of_system(command, str(root), rootless=False)),
    ):
        (tmp_path / name).write_text(unit)
        done = subprocess.run(["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if name in line or str(tmp_path) in line]
        assert not said, said


def test_restart_policies_are_systemds() -> None:
    assert "on-failure" in systemd_unit.RESTARTS
