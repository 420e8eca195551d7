"""The map of the house is true: docs/architecture.md."""

from __future__ import annotations

import re
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]


def test_each_module_of_the_engine_has_one_line_in_the_architecture() -> None:
    named = re.findall(r"^ {4}(\w+\.py) ", (_PROJECT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    there = [one.name for one in (_PROJECT / "src" / "cratebox" / "engine").glob("*.py") if one.name != "__init__.py"]
    assert sorted(named) == sorted(there)
