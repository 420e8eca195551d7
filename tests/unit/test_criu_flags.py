"""Each flag of checkpoint and restore comes to criu under the number that it has in criu's rpc.proto, and in no other case."""

from __future__ import annotations

import pytest

from cratebox.cli.oci import checkpoint as checkpoint_verb
from cratebox.cli.oci import restore as restore_verb
from cratebox.cli.oci.caller import Caller
from cratebox.cli.options import Command, parse
from cratebox.runtime import criu_messages

EXT_UNIX_SK, TCP_ESTABLISHED, SHELL_JOB, FILE_LOCKS, AUTO_DEDUP, LINK_REMAP = 4, 5, 7, 8, 16, 18
MANAGE_CGROUPS_MODE, EMPTY_NS, LAZY_PAGES, STATUS_FD = 34, 38, 48, 49
IGNORE, SOFT, FULL, STRICT = 0, 3, 4, 5  # criu_cg_mode
CLONE_NEWNET = 0x40000000

VERBS = [checkpoint_verb.COMMAND, restore_verb.COMMAND]


def told(command: Command, *flags: str) -> dict[int, int]:
    """Return the numbers that criu is told, by the numbers of their fields."""
    images = checkpoint_verb.images_of(parse(command, [*flags, "web"]), Caller())
    raw = criu_messages.request(criu_messages.DUMP, images.options())
    options = dict(criu_messages._fields(raw))[2]
    assert isinstance(options, bytes)
    return criu_messages.numbers(options)


@pytest.mark.parametrize("command", VERBS, ids=["checkpoint", "restore"])
@pytest.mark.parametrize(
    ("flags", "number", "value"),
    [
        (("--tcp-established",), TCP_ESTABLISHED, 1),
        (("--ext-unix-sk",), EXT_UNIX_SK, 1),
        (("--shell-job",), SHELL_JOB, 1),
        (("--file-locks",), FILE_LOCKS, 1),
        (("--auto-dedup",), AUTO_DEDUP, 1),
        (("--link-remap",), LINK_REMAP, 1),
        (("--empty-ns", "network"), EMPTY_NS, CLONE_NEWNET),
        (("--manage-cgroups-mode", "ignore"), MANAGE_CGROUPS_MODE, IGNORE),
        (("--manage-cgroups-mode", "full"), MANAGE_CGROUPS_MODE, FULL),
        (("--manage-cgroups-mode", "strict"), MANAGE_CGROUPS_MODE, STRICT),
    ],
)
def test_a_flag_is_one_option_of_criu(command: Command, flags: tuple[str, ...], number: int, value: int) -> None:
    usual, now = told(command), told(command, *flags)
    assert now.get(number) == value
    assert usual.get(number, 0) == (SOFT if number == MANAGE_CGROUPS_MODE else 0)
    assert {key: one for key, one in now.items() if key != number} == {key: one for key, one in usual.items() if key != number}


@pytest.mark.parametrize("command", VERBS, ids=["checkpoint", "restore"])
def test_pages_may_come_later(command: Command) -> None:
    assert told(command, "--lazy-pages")[LAZY_PAGES] == 1
    assert LAZY_PAGES not in told(command)


def test_the_descriptor_that_is_told_when_pages_can_be_fetched_has_its_number_and_zero_is_one() -> None:
    raw = criu_messages.request(criu_messages.DUMP, {"status_fd": 0})
    options = dict(criu_messages._fields(raw))[2]
    assert isinstance(options, bytes)
    assert criu_messages.numbers(options) == {STATUS_FD: 0}


def test_labels_are_texts_of_a_request() -> None:
    raw = criu_messages.request(criu_messages.RESTORE, {"lsm_profile": "apparmor:web", "lsm_mount_context": "a:b:c"})
    options = dict(criu_messages._fields(raw))[2]
    assert isinstance(options, bytes)
    assert dict(criu_messages._fields(options)) == {53: b"apparmor:web", 63: b"a:b:c"}
