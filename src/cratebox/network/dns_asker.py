"""One namespace whose questions the resolver answers: its two sockets, and what it has under way.

It is hostile: what it can have open and outstanding is bounded, and what it sends is read as that of a stranger. The sockets
are in its own loopback, so nobody else can ask there, or be sent what he did not ask for.
"""

from __future__ import annotations

import _socket
import os
import time

from cratebox.linux.door import accept_anybody
from cratebox.network import dns_message as dns
from cratebox.network.dns_forward import Errand, open_here
from cratebox.network.loop import WRITE
from cratebox.network.model import RESOLVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.network.dns_forward import Servers
    from cratebox.network.dns_names import Names
    from cratebox.network.loop import Loop, Moment

    Reply = Callable[[bytes], object]
    OpenInside = Callable[[int, int, int], _socket.socket]  # (pidfd, family, type)

_MOST_ERRANDS = 128  # questions passed on at once, for one namespace
_MOST_STREAMS = 32
_MOST_OF_STREAM = 16  # questions of one stream that are not answered yet
_LONGEST_QUERY = 4096  # bytes; of a question with all that may go with it
_MOST_UNSENT = 1 << 17  # bytes of answers that a stream does not take
_IDLE = 10.0  # seconds that a stream may be silent
_BURST = 64  # datagrams that are read before anybody else has his turn
_MOST_KNOWN = 1024  # answers that are kept ready


class Asker:
    """Of `owner`, as long as the process of `pidfd` lives; `udp` and `tcp` are its sockets, from now on ours."""

    def __init__(self, resolver: Surroundings, owner: str, pidfd: int, udp: _socket.socket, tcp: _socket.socket) -> None:
        self.owner, self.pidfd = owner, pidfd
        self._resolver, self._loop = resolver, resolver.loop
        self._udp, self._tcp = udp, tcp
        self._errands: dict[tuple[Any, int, bytes], Errand] = {}
        self._streams: set[Stream] = set()
        self._known: dict[bytes, bytes] = {}
        udp.setblocking(False)
        tcp.setblocking(False)
        self._loop.watch(udp.fileno(), self._read_datagrams)
        self._loop.watch(tcp.fileno(), self._accept)

    def close(self) -> None:
        """Let go of everything: a socket keeps a network namespace alive."""
        for stream in list(self._streams):
            stream.close()
        for errand in list(self._errands.values()):
            errand.drop()
        self._errands.clear()
        for sock in (self._udp, self._tcp):
            self._loop.unwatch(sock.fileno())
            sock.close()
        self._loop.unwatch(self.pidfd)
        os.close(self.pidfd)

    def refresh(self) -> None:
        """See what has become of the names."""
        self._resolver.refresh()

    def forget(self) -> None:
        """Names have changed: no answer is ready any more."""
        self._known.clear()

    def _read_datagrams(self) -> None:
        heard = []
        for _ in range(_BURST):
            try:
                heard.append(self._udp.recvfrom(_LONGEST_QUERY + 1))
            except OSError:  # none is left; or one of ours could not be delivered
                break
        # After they were read: whatever was true before they were sent is known then.
        self._resolver.refresh()
        for message, sender in heard:
            ready = self._known.get(message[2:])
            if ready is None:
                self._meet(message, sender)
            else:
                self._send(message[:2] + ready, sender)

    def _meet(self, message: bytes, sender: Any) -> None:
        if len(message) <= _LONGEST_QUERY:
            self.ask(message, sender, lambda answer: self._send(answer, sender), stream=False)

    def _send(self, message: bytes, sender: Any) -> None:
        try:
            self._udp.sendto(message, sender)
        except OSError:
            pass  # whoever asked has gone, or does not read: he may ask again

    def _accept(self) -> None:
        sock = accept_anybody(self._tcp)
        if sock is None:
            return
        if len(self._streams) >= _MOST_STREAMS:
            sock.close()
            return
        self._streams.add(Stream(self, self._loop, sock, self._streams.discard))

    def ask(self, message: bytes, sender: Any, reply: Reply, *, stream: bool) -> None:
        """Answer `message` by `reply`, now, later, or (where it is none that may be answered) never."""
        try:
            query = dns.read(message)
        except dns.Malformed:
            reply(dns.bare(message, dns.FORMERR))
            return
        if query is None:
            return
        most = dns.LARGEST if stream else min(query.size, dns.OURS)
        refusal = _refusal(query)
        if refusal:
            reply(dns.answer(query, refusal, [], most=most, authoritative=False))
            return
        view = self._resolver.names.view(self.owner)
        records = view.find(query)
        if records is None:
            if view.forwards and not view.is_inside(query.name):
                self._pass_on(query, sender, reply, view.upstreams, stream=stream)
            else:
                reply(dns.answer(query, dns.NXDOMAIN, [], most=most))
            return
        if len(records) > 1:
            records = self._resolver.turned(records)
        answer = dns.answer(query, dns.NOERROR, records, most=most)
        if len(records) <= 1 and len(message) <= dns.PLAIN and not stream:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[message[2:]] = answer[2:]
        reply(answer)

    def _pass_on(self, query: dns.Query, sender: Any, reply: Reply, upstreams: tuple[str, ...], *, stream: bool) -> None:
        key = (sender, query.id, query.question)
        if key in self._errands:
            return  # asked again before it was answered: one answer is on its way

        def done(answer: bytes | None) -> None:
            self._errands.pop(key, None)
            reply(answer or dns.answer(query, dns.SERVFAIL, [], most=dns.PLAIN, authoritative=False))

        servers = tuple(one for one in upstreams if one != RESOLVER) if upstreams else self._resolver.servers.addresses()
        if len(self._errands) >= _MOST_ERRANDS or not servers:
            done(None)
            return
        open_socket = self._open_inside if upstreams else open_here
        errand = self._errands[key] = Errand(self._loop, query, servers, open_socket, done, stream=stream)
        errand.begin()

    def _open_inside(self, family: int, kind: int) -> _socket.socket:
        return self._resolver.open_inside(self.pidfd, family, kind)


class Surroundings:
    """What all askers have in common; `open_inside` makes a socket in the network namespace of a process."""

    def __init__(self, loop: Loop, names: Names, servers: Servers, open_inside: OpenInside) -> None:
        self.loop, self.names, self.servers, self.open_inside = loop, names, servers, open_inside
        self.askers: dict[str, Asker] = {}
        self._turns = 0

    def refresh(self) -> None:
        """See what has become of the names."""
        if self.names.refresh():
            for asker in self.askers.values():
                asker.forget()

    def turned(self, records: list[bytes]) -> list[bytes]:
        """Return the records with another one first each time: who takes the first then takes each in turn."""
        self._turns += 1
        at = self._turns % len(records)
        return records[at:] + records[:at]


class Stream:
    """Questions over TCP: each with its length before it, one after the other (RFC 7766)."""

    def __init__(self, asker: Asker, loop: Loop, sock: _socket.socket, gone: Callable[[Stream], object]) -> None:
        self._asker, self._loop, self._sock, self._gone = asker, loop, sock, gone
        self._heard, self._unsent = bytearray(), bytearray()
        self._outstanding = 0
        self._has_ended = False
        self._idle: Moment | None = None
        self._spoke = 0.0
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._act)
        self._wait()

    def close(self) -> None:
        """Hang up. What is answered later goes nowhere."""
        if self._sock.fileno() >= 0:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._gone(self)
        if self._idle:
            self._idle.call_off()

    def _wait(self) -> None:
        """He has spoken. There is one moment for each stream, however much he speaks: it looks when that was."""
        self._spoke = time.monotonic()
        if self._idle is None:
            self._idle = self._loop.after(_IDLE, self._look)

    def _look(self) -> None:
        left = self._spoke + _IDLE - time.monotonic()
        if left > 0:
            self._idle = self._loop.after(left, self._look)
        else:
            self.close()

    def _act(self) -> None:
        if self._unsent:
            self._write()
        else:
            self._read()

    def _read(self) -> None:
        try:
            data = self._sock.recv(_LONGEST_QUERY)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self._heard += data
            self._asker.refresh()
            self._take()
        else:
            self._has_ended = True  # of asking; he may still be listening
            self._loop.unwatch(self._sock.fileno())
            self._close_if_done()

    def _take(self) -> None:
        while len(self._heard) >= 2:
            length = int.from_bytes(self._heard[:2], "big")
            if length > _LONGEST_QUERY or self._outstanding >= _MOST_OF_STREAM:
                self.close()
                return
            if len(self._heard) < 2 + length:
                return
            message = bytes(self._heard[2 : 2 + length])
            del self._heard[: 2 + length]
            self._outstanding += 1
            self._wait()
            self._asker.ask(message, self, self._reply, stream=True)

    def _reply(self, message: bytes) -> None:
        self._outstanding -= 1
        if self._sock.fileno() < 0:
            return
        self._unsent += len(message).to_bytes(2, "big") + message
        if len(self._unsent) > _MOST_UNSENT:
            self.close()  # he asks without reading
        else:
            self._write()

    def _write(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._unsent:  # nothing more is read as long as he does not
            self._loop.watch(self._sock.fileno(), self._act, WRITE)
        elif self._has_ended:
            self._loop.unwatch(self._sock.fileno())
            self._close_if_done()
        else:
            self._loop.watch(self._sock.fileno(), self._act)

    def _close_if_done(self) -> None:
        if not self._outstanding and not self._unsent:
            self.close()


def _refusal(query: dns.Query) -> int:
    """Return the code for what no resolver of containers does; 0 for a question."""
    if not query.is_plain:
        return dns.NOTIMP
    if query.version:
        return dns.BADVERS
    if query.klass != dns.IN or query.type in {dns.AXFR, dns.IXFR}:
        return dns.REFUSED
    return 0
