"""Unpacking a layer as an ordinary user, with subordinate IDs and without."""

from __future__ import annotations

import io
import os
import stat
import struct
from pathlib import Path

import pytest
from craft import archive, entry, pax
from inside import FIRST_SUBORDINATE, IS_ROOT, USER, run_as_user
from unpacking import is_whiteout, names, needs_root, run_overlay, unpack

from cratebox.errors import StorageError


@pytest.fixture
def user_root(open_path: Path) -> Path:
    """An empty directory of the ordinary user's."""
    made = open_path / "user"
    made.mkdir()
    if IS_ROOT:
        os.chown(made, USER, USER)
    return made


@needs_root
def test_rootless_files_belong_to_subordinate_ids(user_root: Path) -> None:
    raw = archive(entry(b"mine", b"x"), entry(b"theirs", b"x", uid=33, gid=33, mode=0o4755))
    run_as_user(lambda: unpack(raw, user_root, userxattr=True, owners="keep"), one_id=False)
    assert ((user_root / "mine").stat().st_uid, (user_root / "theirs").stat().st_uid) == (USER, FIRST_SUBORDINATE + 32)
    assert stat.S_IMODE((user_root / "theirs").stat().st_mode) == 0o4755


@needs_root
def test_rootless_file_capabilities_are_those_of_the_namespace(user_root: Path) -> None:
    value = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    raw = archive(pax([(b"SCHILY.xattr.security.capability", value)]), entry(b"ping", b"x", mode=0o755))
    run_as_user(lambda: unpack(raw, user_root, userxattr=True), one_id=False)
    stored = os.getxattr(user_root / "ping", "security.capability")
    assert struct.unpack("<I", stored[:4])[0] >> 24 == 3
    assert struct.unpack("<I", stored[20:24])[0] == USER


def test_with_a_single_id_owners_are_recorded_and_set_uid_is_not_set(user_root: Path) -> None:
    raw = archive(
        entry(b"mine", b"x", mode=0o4755), entry(b"a\tb", b"x", uid=33, gid=34, mode=0o6755), entry(b"d/", kind=b"5", uid=1)
    )

    def work() -> bytes:
        record = io.BytesIO()
        unpack(raw, user_root, userxattr=True, owners="record", owners_file=record)
        return record.getvalue()

    record = run_as_user(work, one_id=True)
    assert record == b"a\\011b\t33\t34\t6755\nd/\t1\t0\t755\n"
    assert stat.S_IMODE((user_root / "mine").stat().st_mode) == 0o4755
    assert stat.S_IMODE((user_root / "a\tb").stat().st_mode) == 0o755


def test_an_owner_outside_of_the_map_is_an_error_that_names_the_remedy(user_root: Path) -> None:
    raw = archive(entry(b"f", b"x", uid=33))
    with pytest.raises(StorageError, match="'f' to 33:0") as caught:
        run_as_user(lambda: _as_storage_error(lambda: unpack(raw, user_root, userxattr=True, owners="keep")), one_id=True)
    assert "/etc/subuid" in str(caught.value.args)


def _as_storage_error(work: object) -> None:
    try:
        work()  # type: ignore[operator]
    except StorageError as error:
        raise StorageError(f"{error.message} / {error.hint}") from None


def test_rootless_devices_are_skipped_and_told_while_whiteouts_work(user_root: Path) -> None:
    raw = archive(entry(b"null", kind=b"3", major=1, minor=3), entry(b".wh.gone"), entry(b"pipe", kind=b"6"))
    done = run_as_user(lambda: unpack(raw, user_root, userxattr=True).as_dict(), one_id=True)
    assert done["skipped"] == ("'null': this user may not make devices",)
    assert is_whiteout(user_root / "gone")
    assert names(user_root) == {"gone", "pipe"}


def test_rootless_overlayfs_hides_what_whiteouts_delete(user_root: Path) -> None:
    assert run_as_user(lambda: run_overlay(user_root, userxattr=True), one_id=True) is None


def test_where_no_device_can_be_made_whiteouts_are_files_that_overlayfs_knows(
    user_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    monkeypatch.setattr(os, "mknod", refuse)
    wrong = run_as_user(lambda: run_overlay(user_root, userxattr=True), one_id=True)
    assert os.getxattr(user_root / "upper/a", "user.overlay.whiteout") == b"y"
    assert os.getxattr(user_root / "upper/d", "user.overlay.opaque") == b"x"
    if release < (6, 8):
        pytest.skip("overlayfs reads such whiteouts since Linux 6.8")
    assert wrong is None
