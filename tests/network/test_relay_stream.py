"""One connection through a relay, between four sockets of this process: what one says the other hears, in every order."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cratebox.network import relay_stream
from cratebox.network.loop import Loop
from cratebox.network.relay_stream import Connection, Pipes
from support.published import held_on_the_way


class Line:
    """A client, a relay's connection, and a server; `turn` is the relay's life."""

    def __init__(self, pipes: Pipes, opened: ExitStack) -> None:
        self.loop, self.gone = Loop(), False
        outer, inner = (opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        self.client = opened.enter_context(socket.create_connection(outer.getsockname()))
        accepted, _ = outer.accept()
        server = socket.socket()
        server.setblocking(False)
        self.connection = Connection(self.loop, pipes, (accepted, server), inner.getsockname(), self._end)
        self.server = opened.enter_context(inner.accept()[0])
        opened.callback(lambda: self.gone or self.connection._reset())
        self.client.setblocking(False)
        self.server.setblocking(False)

    def _end(self, _connection: Connection) -> None:
        self.gone = True

    def turn(self, true: Callable[[], object]) -> None:
        """Let the relay work until something is true."""
        for _ in range(100_000):
            if true():
                return
            self.loop.after(0.01, lambda: None)
            self.loop.turn()
        pytest.fail("it did not happen")

    def fill(self, sock: socket.socket) -> int:
        """Say as much as goes in while nobody hears it; return how much that was."""
        sent = still = 0
        while still < 20:
            try:
                sent += sock.send(bytes(1 << 16))
                still = 0
            except BlockingIOError:
                still += 1
            self.loop.after(0.01, lambda: None)
            self.loop.turn()
        return sent

    def heard(self, sock: socket.socket) -> int:
        """Hear all up to the end; return how much that was."""
        count = 0

        def hear() -> bool:
            nonlocal count
            try:
                data = sock.recv(1 << 20)
            except BlockingIOError:
                return False
            count += len(data)
            return not data

        self.turn(hear)
        return count


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def line(opened: ExitStack) -> Line:
    return Line(Pipes(), opened)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_what_is_held_back_is_bounded_and_none_of_it_is_lost(line: Line) -> None:
    sent = line.fill(line.client)
    assert 0 < sent < held_on_the_way()
    line.client.shutdown(socket.SHUT_WR)
    assert line.heard(line.server) == sent


def test_when_both_have_ended_it_is_over(line: Line) -> None:
    line.client.sendall(b"?")
    line.client.shutdown(socket.SHUT_WR)
    assert line.heard(line.server) == 1
    assert not line.gone
    line.server.sendall(b"answer")
    line.server.close()
    assert line.heard(line.client) == 6
    line.turn(lambda: line.gone)


def test_what_a_server_has_said_arrives_although_it_did_not_hear_all(line: Line) -> None:
    line.client.sendall(bytes(1000))
    line.server.sendall(b"no")
    line.turn(lambda: line.client.recv(2, socket.MSG_PEEK | socket.MSG_DONTWAIT) if readable(line.client) else b"")
    line.server.close()  # with a thousand bytes unheard: a reset
    assert line.client.recv(2) == b"no"
    line.turn(lambda: line.gone)


def readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_goes_on_to_the_other_side(line: Line, who: str) -> None:
    resetting, other = (line.client, line.server) if who == "client" else (line.server, line.client)
    reset(resetting)
    line.turn(lambda: line.gone)
    with pytest.raises(ConnectionResetError):
        other.recv(1)


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_heeded_while_the_other_side_does_not_read(line: Line, who: str) -> None:
    resetting, other = (line.client, line.server) if who == "client" else (line.server, line.client)
    line.fill(resetting)
    reset(resetting)

    def hear() -> bool:
        try:
            return not other.recv(1 << 20)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    line.turn(hear)
    line.turn(lambda: line.gone)


def test_a_reset_after_the_end_is_heeded_while_the_other_side_is_silent(line: Line) -> None:
    line.client.shutdown(socket.SHUT_WR)
    assert line.heard(line.server) == 0
    reset(line.client)
    line.turn(lambda: line.gone)


def test_where_nobody_listens_it_is_over_and_the_caller_keeps_his_socket(opened: ExitStack) -> None:
    loop, gone = Loop(), []
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as outer:
        client = opened.enter_context(socket.create_connection(outer.getsockname()))
        accepted, _ = outer.accept()
    inside = socket.socket()
    inside.setblocking(False)
    try:
        Connection(loop, Pipes(), (accepted, inside), closed, gone.append)
        while not gone:
            loop.turn()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    except ConnectionRefusedError:
        accepted.close()
    assert inside.fileno() < 0


def test_connections_that_are_stuck_have_small_pipes(opened: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_stream, "_MOST_LARGE", 2)
    pipes = Pipes()
    taken = [pipes.take() for _ in range(4)]
    opened.callback(lambda: [pipes.give_back(one) for one in taken])
    sizes = [one.size for one in taken]
    assert max(sizes[2:]) <= 1 << 16
    assert sizes[0] > sizes[3]


def test_a_pipe_is_had_only_while_something_is_in_it(line: Line) -> None:
    for _ in range(3):
        line.client.sendall(b"x")
        line.turn(lambda: readable(line.server))
        assert line.server.recv(1) == b"x"
    assert not [one for one in (line.connection._there, line.connection._back) if one._pipe]
