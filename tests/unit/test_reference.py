from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cratebox.errors import InvalidValue, Untrusted
from cratebox.image import reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("owner/name", "docker.io/owner/name:latest", "owner/name:latest"),
        ("index.docker.io/owner/name", "docker.io/owner/name:latest", "owner/name:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/a/b:t", "localhost:5000/a/b:t", "localhost:5000/a/b:t"),
        ("ghcr.io/o/n", "ghcr.io/o/n:latest", "ghcr.io/o/n:latest"),
        ("[::1]:5000/x:t", "[::1]:5000/x:t", "[::1]:5000/x:t"),
        ("Host/name", "Host/name:latest", "Host/name:latest"),
        ("a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest", "a__b/c-d.e---f:latest"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"alpine:3@{DIGEST}", f"docker.io/library/alpine:3@{DIGEST}", f"alpine:3@{DIGEST}"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text: str, full: str, familiar: str) -> None:
    parsed = reference.parse(text)
    assert (str(parsed), parsed.familiar) == (full, familiar)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "/", "a:", ":t", "Alpine", "a//b", "/a", "a/", "a_", "_a", "a..b", "a___b", "a._b", "-a", "a b", "a\nb",
        "a\0", "ä",
        "../x", "a/../b", "host.:5000/x", "-h.io/x", "h-.io/x", "h.io:/x", "h.io:0/x", "h.io:65536/x", "h.io:5x/x",
        "user@host.io/x", "http://h.io/x", "[::1/x", "[]:1/x", "[::1]x/y", "a:.t", "a:-t", "a:" + "t" * 129, "a/" + "b" * 254,
        "a@", "a@sha256", "a@sha256:abc", f"a@{DIGEST.upper()}", f"a@{DIGEST}0", f"a@md5:{'0' * 32}", f"@{DIGEST}",
        f"a@{DIGEST}@{DIGEST}",
        "h.io/\u0661", "a:\u0661", "h.io:\u0665/x",
    ],
)  # fmt: skip
def test_a_malformed_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        reference.parse(text)


def test_an_image_id_is_not_a_name() -> None:
    with pytest.raises(InvalidValue, match="ID of an image"):
        reference.parse("a" * 64)


def test_control_bytes_of_a_name_do_not_reach_the_message() -> None:
    with pytest.raises(InvalidValue) as caught:
        reference.parse("a\x1b[2Jb\x9b\u202e")
    assert str(caught.value).isprintable()


def test_a_name_that_was_printed_reads_back_the_same() -> None:
    parsed = reference.parse(f"ghcr.io/o/n:t@{DIGEST}")
    assert reference.parse(str(parsed)) == parsed


def test_with_digest_drops_the_tag() -> None:
    assert str(reference.with_digest(reference.parse("alpine"), DIGEST)) == f"docker.io/library/alpine@{DIGEST}"


def test_with_digest_refuses_a_path() -> None:
    with pytest.raises(Untrusted):
        reference.with_digest(reference.parse("alpine"), "sha256:../../etc")


PIECES = st.sampled_from(
    ["a", "b0", "library", "docker.io", "localhost", "HOST", "..", ".", "-", "_", "__", ":", "/", "//", "@", "[", "::1", "]",
     ":5000", ":latest", "sha256:", DIGEST, "\x1b[2J", "\0", "\n", " ", "é", "\ud800"]
)  # fmt: skip


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join)))
@example("a" * 100_000)
@example("a/" * 100_000)
@example("[" * 1000)
def test_any_text_is_a_name_that_reads_back_the_same_or_is_refused(text: str) -> None:
    found, said = None, ""
    try:
        found = reference.parse(text)
    except InvalidValue as error:
        said = error.message
    assert said.isprintable()
    assert len(said) < 1000
    if found is not None:
        assert reference.parse(str(found)) == reference.parse(found.familiar) == found
        assert str(found).isascii()
        assert str(found).isprintable()
        assert ".." not in str(found).split("/")
