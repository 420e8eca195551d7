"""The README's two commands on a machine on which crate never was, without a network: its packages lie beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.commands import CHECKOUT
from support.emulator import WHEELS
from support.people import Person


@pytest.mark.timeout(900)
@pytest.mark.skipif(os.geteuid() == 0, reason="of an ordinary user")
def test_the_demo_installs_crate_and_runs_a_container(person: Person) -> None:
    if not WHEELS.is_dir():
        pytest.skip(f"{WHEELS} is in the virtual machine alone")
    checkout = Path(shutil.copytree(CHECKOUT, person.home / "crate", ignore=shutil.ignore_patterns("tests", "bench")))
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS)}
    done = person.run([str(checkout / "script/demo")], env=pip, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no registry gave alpine" in done.stdout
    assert "hello from " in done.stdout
    assert "\nhello world\n" in done.stdout
