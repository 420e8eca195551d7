"""The words by which a supervisor follows another: those of today, and those that were told before they had names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cratebox.engine import custody, guardian, succession
from cratebox.engine.custody import Custody
from cratebox.engine.guardian import Ward
from cratebox.engine.sleeping import Sleep
from cratebox.paths import Paths

WARD = Ward(Paths("/root", "/state", "/config"), "ID", 5, (6, 7), (8, 9, 10, 11), -1)


@pytest.fixture
def kept() -> Iterator[Custody]:
    made = custody.new()
    yield made
    made.ours.close()
    made.kept.close()


def behind(words: list[str]) -> list[str]:
    """What _entry.py gives to takeover.py: what stands behind the name of the command."""
    return words[words.index(guardian.COMMAND) + 1 :]


def read(words: list[str], kept: Custody) -> tuple[Ward, Sleep | None]:
    """Read words that name the ends of `kept`."""
    ward, found, woken = succession.read(words)
    try:
        assert found.descriptors == kept.descriptors
    finally:
        found.ours.detach()
        found.kept.detach()
    return ward, woken


def test_what_is_told_is_understood(kept) -> None:
    assert read(behind(guardian.successor(WARD, kept)), kept) == (WARD, None)
    how = Sleep(3, 12, -1)
    assert read(behind(guardian.successor(WARD, kept, how.named)), kept) == (WARD, how)


def test_words_without_names_are_understood(kept) -> None:
    numbers = [*kept.descriptors, 5, 6, 7, 8, 9, 10, 11, -1]
    words = ["/root", "/state", "/config", "ID", *map(str, numbers)]
    assert read(words, kept) == (WARD, None)
    assert read([*words, "3", "12", "-1"], kept) == (WARD, Sleep(3, 12, -1))


def test_names_that_nobody_knows_yet_are_ignored_and_missing_ones_are_none(kept) -> None:
    ours, kept_end = kept.descriptors
    words = ["3", "/root", "/state", "/config", "ID", f"ours={ours}", f"kept={kept_end}", "lock=5", "later=77"]
    assert read(words, kept)[0] == WARD.replace(output=(-1, -1), holds=(-1, -1, -1, -1))


@pytest.mark.parametrize(
    "words", [[], ["2"], ["2", "/root"], ["2", "/root", "/state", "/config", "ID"], ["2", "/r", "/s", "/c", "ID", "lock=x"]]
)
def test_others_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError):
        succession.read(words)


def test_the_descriptors_of_a_ward_are_all_that_are_named() -> None:
    assert WARD.descriptors == (5, 6, 7, 8, 9, 10, 11, -1)
