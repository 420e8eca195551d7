"""`crate search`: repositories of a registry by a word."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from support.images import Image, Tree

RESULTS = [
    {
        "name": "alpine",
        "description": "A minimal\n image " + "x" * 60,
        "star_count": 900,
        "is_official": True,
        "is_automated": False,
    },
    {"name": "me/alpine", "description": "mine \x1b[2J", "star_count": 3, "is_official": False, "is_automated": True},
    {"name": "you/alpine", "description": None, "star_count": 10**1000},
]


class Searching(BaseHTTPRequestHandler):
    """Answers a search as Docker Hub does, with the server's `answer`, and writes down what it was asked."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/v1/search":
            self.server.asked.append(parse_qs(parts.query))  # type: ignore[attr-defined]
        self.send_response(200 if parts.path == "/v1/search" else 404)
        body = self.server.answer if parts.path == "/v1/search" else b""  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def hub_like() -> Iterator[ThreadingHTTPServer]:
    """A server on loopback that has a search."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Searching)
    server.answer = json.dumps({"num_results": 3, "results": RESULTS}).encode()  # type: ignore[attr-defined]
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def name(hub_like) -> str:  # type: ignore[no-untyped-def]
    """What is typed to search there."""
    return f"127.0.0.1:{hub_like.server_port}/alpine"


def test_a_search_is_dockers_table(crate, hub_like, name: str) -> None:
    head, first, second, third = crate.ok("search", name).splitlines()
    place = name.removesuffix("/alpine")
    assert head.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert first.split() == [f"{place}/alpine", "A", "minimal", "image", "x" * 28 + "…", "900", "[OK]"]
    assert "\\x1b[2J" in second
    assert third.split() == [f"{place}/you/alpine", "0"]
    assert hub_like.asked == [{"q": ["alpine"], "n": ["25"]}]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--filter", "stars=3"), ["alpine", "me/alpine"]),
        (("--filter", "is-official=true"), ["alpine"]),
        (("--filter", "is-official=false", "--filter", "stars=1"), ["me/alpine"]),
        (("--filter", "is-automated=true"), ["me/alpine"]),
        (("--limit", "2"), ["alpine", "me/alpine"]),
    ],
)
def test_filters_and_a_limit_leave_something_out(crate, name: str, words: tuple[str, ...], found: list[str]) -> None:
    said = crate.ok("search", *words, "--format", "{{.Name}}", name).splitlines()
    assert [one.partition("/")[2] for one in said] == found


def test_as_json_it_is_a_document_a_line(crate, name: str) -> None:
    rows = [json.loads(line) for line in crate.ok("search", "--no-trunc", "--format", "json", name).splitlines()]
    assert rows[0]["Description"] == "A minimal image " + "x" * 60
    assert [(row["StarCount"], row["IsOfficial"], row["IsAutomated"]) for row in rows][:2] == [
        ("900", "true", "false"),
        ("3", "false", "true"),
    ]


def test_a_registry_without_a_search_is_asked_for_its_names(crate, registry, word: str) -> None:
    image = Image((Tree().file("x", "y").layer(),))
    for one in ("one", "two"):
        registry.push(f"{word.lower()}/{one}", "latest", image)
    said = crate.ok("search", "--format", "{{.Name}}", f"{registry.address}/{word.lower()}").splitlines()
    assert said == [f"{registry.address}/{word.lower()}/one", f"{registry.address}/{word.lower()}/two"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"<html>", "is not JSON"),
        (b"[]", "is not that of a search"),
        (b'{"results": {"name": "x"}}', "is not that of a search"),
        (b'{"results": [7]}', "a result of the search has no name"),
        (b'{"results": "' + b"x" * (5 << 20) + b'"}', "larger than"),
    ],
)
def test_an_answer_that_is_none_is_told(crate, hub_like, name: str, answer: bytes, said: str) -> None:
    hub_like.answer = answer
    assert said in crate.fails("search", name).splitlines()[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.b/",), "nothing to search for"),
        (("",), "nothing to search for"),
        (("--limit", "101", "a"), "--limit is 1 to 100"),
        (("--limit", "0", "a"), "--limit"),
        (("--filter", "colour=red", "a"), "no such filter"),
        (("--filter", "stars=many", "a"), "--filter stars"),
        (("..:x/a",), "is not a registry"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anybody_is(crate, words: tuple[str, ...], said: str) -> None:
    assert said in crate.fails("search", *words).splitlines()[0]
