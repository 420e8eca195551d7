"""One connection through a relay: two sockets, and what comes from the one goes to the other by splice(2), through a pipe.

So bytes are not copied: what the pipe holds are the pages of the one socket on their way to the other. It is had only while
there is something in it, which is for long only where the other side does not read.

    the end of one side      is the end for the other, once all has arrived; what the other says still arrives (half closed)
    a reset of one side      is a reset for the other, once all has arrived
    who does not read        holds back who writes, as soon as a pipe and the buffers of two sockets are full
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.network.loop import Loop

_READY = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET  # told once: a turn goes on until nothing moves
_HOW = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_F_SETPIPE_SZ = 1031
_LARGE, _SMALL = 1 << 20, 1 << 14  # bytes of a pipe
_MOST_LARGE = 32  # at once: half of what a user may have in pipes before they are cut (pipe(7), pipe-user-pages-soft)
_MOST_KEPT = 4
_MOST_A_TURN = 1 << 24  # bytes, before others have their turn
_SECONDS_TO_ASK = 60  # of silence, until a client is asked whether he is there: nobody else would ever notice


class Pipe:
    """A pipe that holds up to `size` bytes; it does not block."""

    __slots__ = ("into", "out", "size")

    def __init__(self, size: int) -> None:
        self.out, self.into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.size = 1 << 16
        try:
            self.size = fcntl.fcntl(self.into, _F_SETPIPE_SZ, size)
        except OSError:
            pass  # the user has too much in pipes: it stays as it was made

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


class Pipes:
    """Those of a relay. Many are small: connections that are stuck must not take what the user's other programs have of pipes."""

    def __init__(self) -> None:
        self._kept: list[Pipe] = []
        self._large = 0

    def take(self) -> Pipe:
        """Return one that is empty. Raises OSError."""
        if self._kept:
            return self._kept.pop()
        made = Pipe(_LARGE if self._large < _MOST_LARGE else _SMALL)
        self._large += made.size >= _LARGE
        return made

    def give_back(self, pipe: Pipe, is_empty: bool = True) -> None:
        if is_empty and pipe.size >= _LARGE and len(self._kept) < _MOST_KEPT:
            self._kept.append(pipe)
            return
        self._large -= pipe.size >= _LARGE
        pipe.close()


class Direction:
    """What goes from `source` to `target`. `is_over`: nothing will any more; `is_broken`: since the source was reset."""

    __slots__ = ("_held", "_pipe", "_pipes", "_source_has_ended", "is_broken", "is_over", "source", "target")

    def __init__(self, source: _socket.socket, target: _socket.socket, pipes: Pipes) -> None:
        self.source, self.target, self._pipes = source, target, pipes
        self._pipe: Pipe | None = None
        self._held = 0  # bytes in the pipe
        self._source_has_ended = self.is_over = self.is_broken = False

    def move(self) -> bool:
        """Move what moves; return whether there may be more, for another turn.
        Raises OSError where there is no pipe to be had.
        """
        left = _MOST_A_TURN
        while not self.is_over and left > 0:
            moved = self._take() + self._give()
            if not moved:
                break
            left -= moved
        if self._pipe and not self._held:
            self._pipes.give_back(self._pipe)
            self._pipe = None
        return not self.is_over and left <= 0

    @property
    def is_stuck(self) -> bool:
        """Whether something waits for the target to take it."""
        return self._held > 0

    def heed_reset(self) -> None:
        """See whether the source was reset while nothing was taken from it:
        what had not been read of it is lost, as anywhere.
        """
        is_deaf = self.is_stuck or self.is_over
        if is_deaf and not self.is_broken and self.source.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
            self._source_has_ended = self.is_broken = True

    def close(self) -> None:
        if self._pipe:
            self._pipes.give_back(self._pipe, is_empty=not self._held)
            self._pipe = None
        self.is_over = True

    def _take(self) -> int:
        if self._source_has_ended:
            return 0
        if self._pipe is None:
            self._pipe = self._pipes.take()
        try:
            count = os.splice(self.source.fileno(), self._pipe.into, self._pipe.size, flags=_HOW)
        except BlockingIOError:
            return 0  # there is nothing, or no room for it
        except OSError:
            self._source_has_ended = self.is_broken = True
            return 0
        self._source_has_ended = not count
        self._held += count
        return count

    def _give(self) -> int:
        count = 0
        if self._held and self._pipe:
            try:
                count = os.splice(self._pipe.out, self.target.fileno(), self._held, flags=_HOW)
            except BlockingIOError:
                return 0
            except OSError:
                self.close()  # who does not hear any more may still have something to say
                return 0
            self._held -= count
        if self._source_has_ended and not self._held:
            self.is_over = True
            if not self.is_broken:
                _end_writing(self.target)
        return count


class Connection:
    """`sides`: who has come, and a socket inside, which is connected to `where`; neither blocks.
    `gone` is told when it is over.
    """

    def __init__(
        self,
        loop: Loop,
        pipes: Pipes,
        sides: tuple[_socket.socket, _socket.socket],
        where: tuple[str, int],
        gone: Callable[[Connection], object],
    ) -> None:
        """Raises OSError where nobody is at `where`: the socket inside is closed then, the other one is the caller's."""
        self._loop, self._gone = loop, gone
        self._client, self._server = sides
        self._there, self._back = Direction(*sides, pipes), Direction(sides[1], sides[0], pipes)
        self._is_connected = self._is_due = False
        try:
            self._begin(where)
        except OSError:
            self._server.close()
            raise

    def _begin(self, where: tuple[str, int]) -> None:
        self._client.setblocking(False)
        self._client.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        self._client.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_KEEPIDLE, _SECONDS_TO_ASK)
        for sock in (self._client, self._server):
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        try:
            self._server.connect(where)
        except BlockingIOError:
            pass  # it is told when it is done
        self._loop.watch(self._client.fileno(), lambda: self._turn(self._there, self._back), _READY)
        self._loop.watch(self._server.fileno(), lambda: self._turn(self._back, self._there), _READY)

    def _turn(self, saying: Direction, hearing: Direction) -> None:
        """A side is ready: the source of `saying`, and the target of `hearing`."""
        if self._is_connected:
            self._move((saying, hearing) if hearing.is_stuck else (saying,))
        elif self._has_connected():
            self._move((saying, hearing))

    def _has_connected(self) -> bool:
        """Where nobody is there to connect to, or who has come is gone, it is over."""
        if any(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR) for sock in (self._client, self._server)):
            self._reset()
            return False
        try:
            self._server.getpeername()
        except OSError:
            return False  # not yet
        self._is_connected = True
        return True

    def _move(self, moving: tuple[Direction, ...]) -> None:
        both = self._there, self._back
        try:
            more = [one.move() for one in moving]
        except OSError:  # no pipe is to be had
            self._reset()
            return
        for one in both:
            one.heed_reset()
            if one.is_broken and one.is_over:
                self._reset()
                return
        if all(one.is_over for one in both):
            self._close()
        elif any(more) and not self._is_due:
            self._is_due = True
            self._loop.after(0, self._again)

    def _again(self) -> None:
        self._is_due = False
        if self._client.fileno() >= 0:
            self._move((self._there, self._back))

    def _reset(self) -> None:
        self._let_go()
        hang_up(self._client)
        hang_up(self._server)

    def _close(self) -> None:
        self._let_go()
        self._client.close()
        self._server.close()

    def _let_go(self) -> None:
        for one in (self._there, self._back):
            one.close()
            self._loop.unwatch(one.source.fileno())
        self._gone(self)


def hang_up(sock: _socket.socket) -> None:
    """Close a connection as a reset: who is at its other end is not to believe that he has heard all."""
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


def _end_writing(sock: _socket.socket) -> None:
    try:
        sock.shutdown(_socket.SHUT_WR)
    except OSError:
        pass  # who is there has gone altogether
