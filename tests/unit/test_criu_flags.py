"""Each flag of checkpoint and restore comes to criu under the number that it has in criu's rpc.proto, and in no other case."""

from __future__ import annotations

import pytest

from cratebox.cli.oci import checkpoint as checkpoint_verb
from cratebox.cli.oci import restore as restore_verb
from cratebox.cli.oci.caller import Caller
from cratebox.cli.options import Command, parse
from cratebox.errors import Unsupported
from cratebox.runtime import criu_messages

EXT_UNIX_SK, TCP_ESTABLISHED, SHELL_JOB, FILE_LOCKS, AUTO_DEDUP, LINK_REMAP = 4, 5, 7, 8, 16, 18
MANAGE_CGROUPS_MODE, EMPTY_NS = 34, 38
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
def test_pages_that_come_later_are_refused(command: Command) -> None:
    with pytest.raises(Unsupported, match="--lazy-pages is not done"):
        told(command, "--lazy-pages")


def test_labels_are_texts_of_a_request() -> None:
    raw = criu_messages.request(criu_messages.RESTORE, {"lsm_profile": "apparmor:web", "lsm_mount_context": "a:b:c"})
    options = dict(criu_messages._fields(raw))[2]
    assert isinstance(options, bytes)
    assert dict(criu_messages._fields(options)) == {53: b"apparmor:web", 63: b"a:b:c"}
