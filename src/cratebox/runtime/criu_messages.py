"""What criu is told and what it answers, as bytes: the few messages of its RPC that crate uses (criu's rpc.proto; protobuf's
encoding).

A message is a sequence of fields: a varint of (number << 3 | kind), then a varint (kind 0) or a length and that many bytes (kind 2).
What criu says is as trusted as criu, yet nothing in it is believed beyond its form.
"""

from __future__ import annotations

from cratebox.errors import RuntimeFailure
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Value = bool | int | str | Mapping[str, "Value"]

DUMP, RESTORE, PRE_DUMP, NOTIFY = 1, 2, 4, 6  # criu_req_type
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}  # criu_cg_mode

# criu_opts, and the messages inside of it, by their numbers.
_OPTIONS = {
    "images_dir_fd": 1, "pid": 2, "leave_running": 3, "ext_unix_sk": 4, "tcp_established": 5, "evasive_devices": 6,
    "shell_job": 7, "file_locks": 8, "log_level": 9, "log_file": 10, "ps": 11, "notify_scripts": 12, "root": 13,
    "parent_img": 14, "track_mem": 15, "auto_dedup": 16, "work_dir_fd": 17, "link_remap": 18, "manage_cgroups": 24,
    "cg_root": 25, "rst_sibling": 26, "inherit_fd": 27, "manage_cgroups_mode": 34, "external": 37, "empty_ns": 38, "join_ns": 39,
    "freeze_cgroup": 44, "tcp_skip_in_flight": 46, "lazy_pages": 48, "status_fd": 49, "orphan_pts_master": 50, "lsm_profile": 53,
    "lsm_mount_context": 63,
}  # fmt: skip
_PARTS = {
    "ps": {"address": 1, "port": 2},
    "cg_root": {"ctrl": 1, "path": 2},
    "inherit_fd": {"key": 1, "fd": 2},
    "join_ns": {"ns": 1, "ns_file": 2},
}
_VARINT, _BYTES = 0, 2
_WIDTHS = {1: 8, 5: 4}  # kinds of fixed length, which none of the fields that are read has


class Answer(Record):
    """A message of criu's. `pid` is that of a restored first process,
    `script` and `at` what a notification is about and its process.
    """

    kind: int = 0
    success: bool = False
    pid: int = 0
    script: str = ""
    at: int = 0
    reason: str = ""


def request(kind: int, options: Mapping[str, Value | list[Value]]) -> bytes:
    """Return a request; an option that is a list is given as often as it has entries, one that is False or empty not at all."""
    body = b""
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value] if value or (value == 0 and value is not False) else []:
            body += _field(_OPTIONS[name], one, _PARTS.get(name))
    return _field(1, kind) + _lengthy(2, body)


def reply(success: bool) -> bytes:
    """Return what a notification is answered with."""
    return _field(1, NOTIFY) + _field(3, success)


def _field(number: int, value: Value, parts: Mapping[str, int] | None = None) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(int(value))
    if isinstance(value, str):
        return _lengthy(number, value.encode(errors="surrogateescape"))
    assert parts
    return _lengthy(number, b"".join(_field(parts[name], one) for name, one in value.items()))


def _lengthy(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    assert value >= 0
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def answer(raw: bytes) -> Answer:
    """Return what `raw` says (criu_resp). Raises RuntimeFailure for what is no such message."""
    try:
        fields = dict(_fields(raw))
        restored = dict(_fields(_bytes(fields.get(4, b""))))
        notified = dict(_fields(_bytes(fields.get(5, b""))))
        return Answer(
            kind=int(fields.get(1, 0)),
            success=bool(fields.get(2, 0)),
            pid=int(restored.get(1, 0)),
            script=_bytes(notified.get(1, b"")).decode(errors="replace"),
            at=int(notified.get(2, 0)),
            reason=_bytes(fields.get(9, b"")).decode(errors="replace"),
        )
    except (ValueError, IndexError):
        raise RuntimeFailure("criu answered with what is no message of its own") from None


def numbers(raw: bytes) -> dict[int, int]:
    """Return those fields of a message that are numbers. Raises ValueError, IndexError for what is no message."""
    return {number: value for number, value in _fields(raw) if isinstance(value, int)}


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError  # noqa: TRY004  a message of the wrong form, as the others
    return value


def _fields(raw: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield number and value of each field. Raises ValueError, IndexError."""
    at = 0
    while at < len(raw):
        key, at = _read_varint(raw, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _read_varint(raw, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _read_varint(raw, at)
        else:
            length = _WIDTHS.get(kind, -1)
        if not 0 <= length <= len(raw) - at:
            raise ValueError
        yield number, raw[at : at + length]
        at += length


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError
