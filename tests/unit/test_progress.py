"""What a pull shows."""

from __future__ import annotations

import io
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from cratebox.cli import progress
from cratebox.cli.bars import Bars

if TYPE_CHECKING:
    from cratebox.image.progress import Progress

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> tuple[Progress, Terminal]:
    pytest.importorskip("rich", reason="bars need rich")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    return Bars(terminal), terminal


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.choose(quiet=True)
    shown.layer(A, 5)
    shown.advance(A, 5)
    shown.done(A, "Pull complete")
    shown.message("x")
    assert capsys.readouterr() == ("", "")


def test_lines_are_shown_where_no_terminal_is() -> None:
    stream = io.StringIO()
    shown = progress.Lines(stream)
    shown.layer(A, 5)
    shown.advance(A, 5)
    shown.done(A, "Pull complete")
    shown.done(B, "Already exists")
    assert stream.getvalue() == "aaaaaaaaaaaa: Pulling\naaaaaaaaaaaa: Pull complete\nbbbbbbbbbbbb: Already exists\n"


def test_an_escape_sequence_in_a_message_is_inert() -> None:
    stream = io.StringIO()
    progress.Lines(stream).message("a\x1b[2J")
    assert stream.getvalue() == "a\\x1b[2J\n"


def test_standard_output_is_for_pull_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    progress.choose(quiet=False).message("a")
    progress.choose(quiet=False, to_stdout=True).message("b")
    assert (sys.stdout.getvalue(), sys.stderr.getvalue()) == ("b\n", "a\n")  # type: ignore[attr-defined]


def test_a_terminal_gets_a_bar_a_layer(bars: tuple[Progress, Terminal]) -> None:
    shown, terminal = bars
    shown.layer(A, 1000)
    shown.layer(B, 1000)
    shown.advance(A, 1000)
    shown.done(A, "Pull complete")
    shown.done(B, "Already exists")
    assert "aaaaaaaaaaaa Pull complete" in terminal.getvalue()
    assert "bbbbbbbbbbbb Already exists" in terminal.getvalue()


def test_the_last_layer_gives_the_cursor_back(bars: tuple[Progress, Terminal]) -> None:
    shown, terminal = bars
    shown.layer(A, 0)
    shown.done(A, "Pull complete")
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


def test_closing_gives_the_cursor_back_half_way(bars: tuple[Progress, Terminal]) -> None:
    shown, terminal = bars
    shown.layer(A, 10)
    shown.close()
    shown.advance(A, 5)
    assert terminal.getvalue().endswith("\x1b[?25h")


def test_no_thread_is_left_or_made(bars: tuple[Progress, Terminal]) -> None:
    shown, _ = bars
    before = threading.active_count()
    shown.layer(A, 10)
    assert threading.active_count() == before
    shown.close()


def test_bars_begin_again_for_another_pull(bars: tuple[Progress, Terminal]) -> None:
    shown, terminal = bars
    for digest in (A, B):
        shown.layer(digest, 10)
        shown.done(digest, "Pull complete")
    assert "bbbbbbbbbbbb Pull complete" in terminal.getvalue()


def test_layers_side_by_side_do_not_disturb_each_other(bars: tuple[Progress, Terminal]) -> None:
    shown, terminal = bars
    digests = [f"sha256:{number:064x}" for number in range(1, 9)]
    failures: list[BaseException] = []

    def fetch(digest: str) -> None:
        try:
            shown.layer(digest, 100)
            for _ in range(10):
                shown.advance(digest, 10)
            shown.done(digest, "Pull complete")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch, args=(digest,)) for digest in digests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, terminal.getvalue().count("\x1b[?25h") > 0) == ([], True)
