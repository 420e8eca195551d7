"""Reading files of somebody else's: nobody waits, and memory stays bounded."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from cratebox.linux.regular import read_regular


def test_a_regular_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(str(tmp_path / "file"), 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes") as caught:
        read_regular(str(tmp_path / "file"), 4)
    assert caught.value.errno == errno.EFBIG


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("fifo", "socket"):
            with pytest.raises(OSError, match="not a regular file"):
                read_regular(str(tmp_path / name), 5)
    for path in ("/dev/zero", "/dev/tty"):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(path, 5, pipe=True)
    with pytest.raises(OSError, match="is a directory"):
        read_regular(str(tmp_path), 5)


def test_a_pipe_is_read_where_it_may_be_one_and_without_a_writer_it_is_empty(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert read_regular(str(tmp_path / "fifo"), 5, pipe=True) == b""
    reader, writer = os.pipe()
    os.write(writer, b"123")
    os.close(writer)
    assert read_regular(f"/proc/self/fd/{reader}", 5, pipe=True) == b"123"
    os.close(reader)
