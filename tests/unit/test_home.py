"""HOME where the environment does not say it; what is in the container's /etc/passwd is tests/runtime's."""

from __future__ import annotations

import pytest

from cratebox.runtime import home


@pytest.fixture(autouse=True)
def passwd(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = b"root:x:0:0::/root:/bin/sh\nbroken\nnone:x:5:5:::\nalice:x:1000:1000::/home/alice:/bin/sh\nodd:x:7:7::/a\0b:\n"
    monkeypatch.setattr(home, "_passwd", lambda: rows)


@pytest.mark.parametrize(
    ("env", "uid", "wanted"),
    [
        ((), 0, ("HOME=/root",)),
        (("A=1",), 1000, ("A=1", "HOME=/home/alice")),
        (("HOME=/x", "A=1"), 1000, ("HOME=/x", "A=1")),
        (("HOME=", "A=1"), 1000, ("A=1", "HOME=/home/alice")),
        ((), 5, ("HOME=/",)),
        ((), 7, ("HOME=/",)),
        ((), 99, ("HOME=/",)),
    ],
)
def test_home(env: tuple[str, ...], uid: int, wanted: tuple[str, ...]) -> None:
    assert home.with_home(env, uid) == wanted
