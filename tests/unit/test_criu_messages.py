"""What criu is told and answers, as bytes."""

from __future__ import annotations

import pytest

from cratebox.errors import RuntimeFailure
from cratebox.runtime import criu_messages as messages


def test_a_request_has_type_and_options_by_their_numbers() -> None:
    asked = messages.request(
        messages.DUMP, {"images_dir_fd": 5, "pid": 300, "leave_running": True, "shell_job": False, "parent_img": ""}
    )
    assert asked == b"\x08\x01\x12\x07\x08\x05\x10\xac\x02\x18\x01"


def test_a_list_is_given_entry_by_entry_and_messages_inside_have_their_length() -> None:
    external: list[messages.Value] = ["a", "bc"]
    asked = messages.request(messages.RESTORE, {"external": external, "inherit_fd": [{"key": "k", "fd": 1}]})
    assert asked == b"\x08\x02\x12\x11" + b"\xaa\x02\x01a\xaa\x02\x02bc" + b"\xda\x01\x05\x0a\x01k\x10\x01"


def test_a_reply_says_whether_it_went_well() -> None:
    assert (messages.reply(True), messages.reply(False)) == (b"\x08\x06\x18\x01", b"\x08\x06\x18\x00")


def test_an_answer_is_read() -> None:
    raw = b"\x08\x02\x10\x01\x22\x03\x08\xac\x02" + b"\x4a\x02no"
    assert messages.answer(raw) == messages.Answer(kind=2, success=True, pid=300, reason="no")
    raw = b"\x08\x06\x10\x01\x2a\x06\x0a\x02ab\x10\x07"
    assert messages.answer(raw) == messages.Answer(kind=6, success=True, script="ab", at=7)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x08",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x22\x7fabc",
        b"\x22\x80",
        b"\x0b\x00",
        b"\x20\x07",
        b"\x22\x01\x08",
    ],
)
def test_what_is_no_message_is_an_error(raw: bytes) -> None:
    with pytest.raises(RuntimeFailure, match="no message"):
        messages.answer(raw)
