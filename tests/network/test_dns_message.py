"""DNS messages, read and written: what others' tools write and read, and what nobody should send."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cratebox.network import dns_message as dns
from support.dns import question


def parsed(message: bytes) -> dns.Query:
    query = dns.read(message)
    assert query is not None
    return query


def test_a_question_is_read_in_small_letters_and_answered_in_the_askers() -> None:
    query = parsed(question("Web.Example", dns.AAAA, number=0xBEEF))
    assert (query.id, query.name, query.type, query.klass, query.edns, query.size) == (0xBEEF, "web.example", 28, 1, False, 512)
    said = dns.answer(query, dns.NOERROR, [dns.record(dns.AAAA, bytes(16), 5)], most=512)
    assert said[:2] == b"\xbe\xef"
    assert b"\x03Web\x07Example\0" in said
    assert struct.unpack_from(">HHHHH", said, 2) == (0x8580, 1, 1, 0, 0)  # QR AA RD RA, one question, one answer
    assert said.endswith(b"\xc0\x0c" + struct.pack(">HHIH", 28, 1, 5, 16) + bytes(16))


def test_what_does_not_fit_is_left_out_and_that_is_said() -> None:
    records = [dns.record(dns.A, bytes([10, 0, 0, n]), 0) for n in range(100)]
    query = parsed(question("many"))
    short = dns.answer(query, dns.NOERROR, records, most=512)
    assert 496 < len(short) <= 512
    assert struct.unpack_from(">H", short, 2)[0] & dns.TRUNCATED
    assert struct.unpack_from(">H", short, 6)[0] == (512 - query.end) // 16
    whole = dns.answer(query, dns.NOERROR, records, most=dns.LARGEST)
    assert not struct.unpack_from(">H", whole, 2)[0] & dns.TRUNCATED
    assert struct.unpack_from(">H", whole, 6)[0] == 100


def test_edns_says_how_much_is_taken_and_is_answered_with_how_much_we_take() -> None:
    query = parsed(question("web", edns=4096))
    assert (query.edns, query.size) == (True, 4096)
    assert parsed(question("web", edns=100)).size == 512
    said = dns.answer(query, dns.NOERROR, [], most=512)
    assert said.endswith(b"\0" + struct.pack(">HHIH", dns.OPT, dns.OURS, 0, 0))
    assert said[10:12] == b"\0\1"
    assert dns.answer(parsed(question("web")), dns.NOERROR, [], most=512)[10:12] == b"\0\0"


def test_a_code_of_more_than_four_bits_is_divided() -> None:
    said = dns.answer(parsed(question("web", edns=1232)), dns.BADVERS, [], most=512)
    assert said[3] & 15 == 0
    assert struct.unpack(">HHIH", said[-10:])[2] == 1 << 24


def test_what_may_not_be_answered_is_no_query() -> None:
    assert dns.read(b"") is None
    assert dns.read(question("web")[:11]) is None
    assert dns.read(question("web", flags=dns.RESPONSE)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"\x03we",  # a label that is cut
        b"\x03web",  # no end of the name
        b"\x03web\0\0\1\0",  # a class that is cut
        b"\xc0\x0c\0\1\0\1",  # a pointer to itself
        b"\x40" + b"a" * 64 + b"\0\0\1\0\1",  # a label of 64 bytes
        (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",  # a name of 257 bytes
    ],
)
def test_a_question_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(dns.Malformed):
        dns.read(struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + body)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 9), (1, 0, 0, 1)])
def test_counts_that_are_not_those_of_a_query_are_malformed(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(dns.Malformed):
        dns.read(struct.pack(">HHHHHH", 1, 0, *counts) + question("web")[12:])


def test_two_opt_records_or_one_of_another_name_are_malformed() -> None:
    once = question("web", edns=1232)
    twice = once[:10] + b"\0\2" + once[12:] + once[-11:]
    named = once[:-11] + b"\x01x\0" + once[-10:]
    dns.read(once)
    for message in (twice, named, once[:-11] + b"\xc0\x0c" + once[-10:]):
        with pytest.raises(dns.Malformed):
            dns.read(message)


def test_a_label_with_a_dot_inside_is_not_two_labels() -> None:
    message = struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + b"\x07web.net\0" + struct.pack(">HH", 1, 1)
    assert parsed(message).name == ""


def test_a_name_can_have_253_characters_and_no_more() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(name) == 253
    assert parsed(question(name)).name == name
    for wrong in (name + "b", "a" * 64, "a..b", "", "."):
        with pytest.raises(dns.Malformed):
            dns.encoded_name(wrong)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.90.10.in-addr.arpa", bytes([10, 90, 0, 2])),
        ("1." + "0." * 30 + "f.ip6.arpa", bytes([0xF0]) + bytes(14) + b"\1"),
        ("0.90.10.in-addr.arpa", None),
        ("256.0.90.10.in-addr.arpa", None),
        ("x.0.90.10.in-addr.arpa", None),
        ("\xb2.0.90.10.in-addr.arpa", None),
        ("g." + "0." * 31 + "ip6.arpa", None),
        ("10.90.0.2", None),
        ("", None),
    ],
)
def test_the_name_of_an_address(name: str, address: bytes | None) -> None:
    assert dns.reversed_address(name) == address


def test_an_answer_is_to_the_very_question() -> None:
    asked = parsed(question("web", number=5))
    said = dns.answer(asked, dns.NOERROR, [], most=512)
    assert dns.is_answer_to(said, 5, asked.question)
    assert dns.is_answer_to(said.replace(b"web", b"WEB"), 5, asked.question)
    assert not dns.is_answer_to(said, 6, asked.question)
    assert not dns.is_answer_to(said.replace(b"web", b"wex"), 5, asked.question)
    assert not dns.is_answer_to(question("web", number=5), 5, asked.question)  # a query
    assert not dns.is_answer_to(said[:12], 5, asked.question)


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_are_a_query_or_none_or_malformed(message: bytes) -> None:
    try:
        query = dns.read(message)
    except dns.Malformed:
        assert len(dns.bare(message, dns.FORMERR)) == 12
        return
    if query:
        assert len(dns.answer(query, dns.NXDOMAIN, [], most=512)) <= len(message)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_query_with_some_bytes_changed_is_a_query_or_none_or_malformed(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    message = bytearray(question("some.name.of.a.container", edns=1232))
    for _ in range(changes):
        message[chance.randrange(len(message))] = chance.randrange(256)
    try:
        query = dns.read(bytes(message))
    except dns.Malformed:
        return
    if query:
        dns.answer(query, dns.NOERROR, [dns.record(dns.A, bytes(4), 0)], most=512)
        dns.reversed_address(query.name)
