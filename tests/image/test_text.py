"""Text from strangers in messages."""

from __future__ import annotations

import pytest

from cratebox.text import safe, shown

NO_TEXT = b"\xff".decode("utf-8", "surrogateescape")
HOSTILE = ("\x1b[2J", "\x07", "\x9b31m", "a\nb", "\x7f", "\u202egnp.exe", "\u2028", NO_TEXT)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_acts_on_a_terminal_is_left_alive(text: str) -> None:
    for told in (safe(text), shown(text)):
        assert told.isprintable()
        assert told.encode()


def test_plain_text_of_any_language_stays_as_it_is() -> None:
    assert safe("größer 模型") == "größer 模型"
    assert shown("größer 模型") == "'größer 模型'"


def test_a_byte_that_is_no_text_is_shown_as_the_byte_it_is() -> None:
    assert safe(NO_TEXT) == "\\xff"


def test_exceptions_stay_alive() -> None:
    assert safe("a\tb\x1b", keep="\t") == "a\tb\\x1b"


def test_a_long_text_is_cut_before_it_is_escaped() -> None:
    assert len(shown("\x00" * 1_000_000)) < 500
    assert shown("x" * 101) == repr("x" * 100 + "...")


def test_what_is_no_text_is_shown_as_the_program_has_it() -> None:
    assert shown(None) == "'None'"
    assert shown(["\x1b"]) == repr("['\\x1b']")
