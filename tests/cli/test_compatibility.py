"""docs/compatibility.md is true."""

from __future__ import annotations

from support import compatibility


def test_the_document_says_what_the_tables_of_flags_say() -> None:
    document = compatibility.DOCUMENT.read_text()
    assert document == compatibility.whole(document), "run: python tests/support/compatibility.py"
