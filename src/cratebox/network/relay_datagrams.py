"""A port of UDP through a relay: each client has a socket inside of his own, so that answers are led to who has asked.

A flow is a client, and the address of this machine that he has asked: the answer comes from that one, whichever way it goes
(IP_PKTINFO, IPV6_PKTINFO). It ends when neither has said anything for a while: UDP knows no end.
"""

from __future__ import annotations

import _socket
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.network.loop import Loop

    Open = Callable[[str, int, int], tuple[_socket.socket, tuple[str, int]]]

_SILENCE = 90.0  # seconds until a flow has ended
_MOST_FLOWS = 1024  # of a port; the one that was silent for longest makes room for a new one
_MOST_AT_ONCE = 64  # datagrams, before others have their turn
_LONGEST = 65535  # bytes
_IP_PKTINFO = 8
_PKTINFO, _PKTINFO6 = struct.Struct("=I4s4s"), struct.Struct("=16sI")  # ip(7), ipv6(7)


class Datagrams:
    """`listening` has `port` of the container published; `open_inside` is given a client's address, the port,
    and SOCK_DGRAM.
    """

    def __init__(self, loop: Loop, listening: _socket.socket, port: int, open_inside: Open) -> None:
        self._loop, self._listening, self._port, self._open = loop, listening, port, open_inside
        self._flows: dict[tuple[Any, bytes], Flow] = {}  # the one that was silent for longest is the first
        self._is_six = listening.family == _socket.AF_INET6
        if self._is_six:  # of clients by IPv4 as well
            listening.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_RECVPKTINFO, 1)
        else:
            listening.setsockopt(_socket.IPPROTO_IP, _IP_PKTINFO, 1)
        loop.watch(listening.fileno(), self._hear)

    @property
    def is_busy(self) -> bool:
        """Whether somebody may still wait for an answer."""
        return bool(self._flows)

    def answer(self, client: Any, asked: bytes, data: bytes) -> None:
        """Send an answer to a client from the address that he has asked; `asked` as `_asked` returns it."""
        if self._is_six:
            control = [(_socket.IPPROTO_IPV6, _socket.IPV6_PKTINFO, _PKTINFO6.pack(asked, 0))] if asked else []
        else:
            control = [(_socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, asked, bytes(4)))] if asked else []
        try:
            self._listening.sendmsg([data], control, _socket.MSG_DONTWAIT, client)
        except OSError:
            pass  # it is lost, as a datagram may be

    def touch(self, flow: Flow) -> None:
        """It is not silent."""
        flow.last = time.monotonic()
        self._flows[flow.key] = self._flows.pop(flow.key, flow)

    def _hear(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                data, control, _flags, client = self._listening.recvmsg(_LONGEST, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # of an answer that has not arrived (ICMP)
            flow = self._flow((client, self._asked(control)))
            if flow:
                self.touch(flow)
                flow.say(data)

    def _asked(self, control: list[tuple[int, int, bytes]]) -> bytes:
        """Return the address of this machine that was asked, of the listening socket's family; empty where it is not told."""
        for level, kind, data in control:
            if (level, kind) == (_socket.IPPROTO_IPV6, _socket.IPV6_PKTINFO):
                return bytes(_PKTINFO6.unpack_from(data)[0])
            if (level, kind) == (_socket.IPPROTO_IP, _IP_PKTINFO):
                return bytes(_PKTINFO.unpack_from(data)[1])
        return b""

    def _flow(self, key: tuple[Any, bytes]) -> Flow | None:
        found = self._flows.get(key)
        if found:
            return found
        try:
            sock, where = self._open(key[0][0], self._port, _socket.SOCK_DGRAM)
            sock.connect(where)
        except OSError:
            return None
        if len(self._flows) >= _MOST_FLOWS:
            self._end(next(iter(self._flows.values())))
        if not self._flows:
            self._loop.after(_SILENCE, self._look)
        return Flow(self, self._loop, sock, key)

    def _end(self, flow: Flow) -> None:
        del self._flows[flow.key]
        flow.close()

    def _look(self) -> None:
        now = time.monotonic()
        for flow in list(self._flows.values()):
            if flow.last + _SILENCE > now:
                self._loop.after(flow.last + _SILENCE - now, self._look)
                return
            self._end(flow)


class Flow:
    """What one client and the container say to each other."""

    def __init__(self, port: Datagrams, loop: Loop, sock: _socket.socket, key: tuple[Any, bytes]) -> None:
        self._port, self._loop, self._sock, self.key = port, loop, sock, key
        self.last = 0.0
        loop.watch(sock.fileno(), self._hear)

    def say(self, data: bytes) -> None:
        """Send what the client says to the container."""
        try:
            self._sock.send(data)
        except OSError:
            pass  # nobody is there, or he does not keep up

    def close(self) -> None:
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()

    def _hear(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                data = self._sock.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:
                continue  # nobody is there (ICMP): the client is not told, and asks again
            self._port.touch(self)
            self._port.answer(*self.key, data)
