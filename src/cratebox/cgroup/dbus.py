"""The dialogue with systemd over D-Bus: org.freedesktop.systemd1(5), of the machine or of the user's own manager.

jeepney, which speaks D-Bus, is imported here alone, and only when the systemd driver is used.
"""

from __future__ import annotations

import os
import socket

from cratebox import third_party
from cratebox.errors import Conflict, NotFound, RuntimeFailure, Unsupported
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.units import Property

_NAME, _PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_MANAGER = _NAME + ".Manager"
_SECONDS = 30.0
_LONGEST_LINE = 4096


class Systemd:
    """A connection to a manager: the machine's, or with `user` that of this user. Raises Unsupported where there is none."""

    def __init__(self, user: bool) -> None:
        self._connection = _connect(user)

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def start_scope(self, name: str, properties: list[Property]) -> None:
        """Start a transient scope and wait until it is there. Raises Conflict where there is one, RuntimeFailure."""
        body: tuple[Any, ...] = (name, "fail", properties, [])
        self._job(name, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)

    def stop(self, name: str) -> None:
        """Stop a unit, and wait until it has. Nothing where there is none. Raises RuntimeFailure."""
        try:
            self._job(name, "StopUnit", "ss", (name, "replace"))
        except NotFound:
            pass

    def reset_failed(self, name: str) -> None:
        """Let systemd forget a unit that has failed. Nothing where there is none."""
        try:
            self._call("ResetFailedUnit", "s", (name,))
        except NotFound:
            pass

    def set_properties(self, name: str, properties: list[Property]) -> None:
        """Change a unit that runs, until it ends. Raises NotFound, RuntimeFailure."""
        self._call("SetUnitProperties", "sba(sv)", (name, True, properties))

    def attach(self, name: str, pid: int) -> None:
        """Move a process into a unit. Raises NotFound, RuntimeFailure."""
        self._call("AttachProcessesToUnit", "ssau", (name, "", [pid]))

    def control_group(self, name: str) -> str:
        """Return the cgroup of a scope, from the root of its hierarchy. Raises NotFound, RuntimeFailure."""
        path = self._call("GetUnit", "s", (name,))[0]
        wanted = (_NAME + ".Scope", "ControlGroup")
        found = self._call("Get", "ss", wanted, path, "org.freedesktop.DBus.Properties")[0][1]
        if not isinstance(found, str) or not found.startswith("/") or "/../" in found + "/":
            raise RuntimeFailure(f"systemd says that {name} has the cgroup {found!a}")
        return found

    def _job(self, unit: str, method: str, signature: str, body: tuple[Any, ...]) -> None:
        """Call what queues a job, and wait for its end: for JobRemoved, which may well come before the answer."""
        from jeepney import MatchRule, message_bus
        from jeepney.wrappers import unwrap_msg

        rule = MatchRule(type="signal", interface=_MANAGER, member="JobRemoved", path=_PATH)
        unwrap_msg(self._connection.send_and_get_reply(message_bus.AddMatch(rule), timeout=_SECONDS))
        self._call("Subscribe")
        with self._connection.filter(rule, bufsize=None) as ended:
            job = self._call(method, signature, body)[0]
            while True:
                try:
                    message = self._connection.recv_until_filtered(ended, timeout=_SECONDS)
                except TimeoutError:
                    raise RuntimeFailure(f"systemd has not answered for {unit} in {_SECONDS:.0f} seconds ({method})") from None
                except OSError as error:
                    raise RuntimeFailure(f"systemd went away: {error.strerror}") from None
                if message.body[1] == job:
                    break
        if message.body[3] != "done":
            raise RuntimeFailure(f"systemd: {method} of {unit}: {message.body[3]}", f"systemctl status {unit} may say why")

    def _call(
        self,
        method: str,
        signature: str | None = None,
        body: tuple[Any, ...] = (),
        path: str = _PATH,
        interface: str = _MANAGER,
    ) -> tuple[Any, ...]:
        from jeepney import DBusAddress, new_method_call
        from jeepney.wrappers import DBusErrorResponse, unwrap_msg

        message = new_method_call(DBusAddress(path, bus_name=_NAME, interface=interface), method, signature, body)
        try:
            return tuple(unwrap_msg(self._connection.send_and_get_reply(message, timeout=_SECONDS)))
        except DBusErrorResponse as error:
            said = error.data[0] if error.data else ""
            raise _refused(method, error.name, str(said)) from None
        except TimeoutError:
            raise RuntimeFailure(f"systemd has not answered {method} in {_SECONDS:.0f} seconds") from None
        except OSError as error:
            raise RuntimeFailure(f"systemd went away during {method}: {error.strerror}") from None


def _refused(method: str, name: str, said: str) -> NotFound | Conflict | RuntimeFailure:
    said = said if said.isprintable() else ascii(said)
    kind = name.rpartition(".")[2]
    if kind in {"NoSuchUnit", "UnknownObject"}:
        return NotFound(f"systemd: {said}")
    if kind == "UnitExists":
        return Conflict(f"systemd: {said}")
    hint = (
        "it takes root, or a session of this user's own"
        if kind in {"AccessDenied", "InteractiveAuthorizationRequired"}
        else None
    )
    return RuntimeFailure(f"systemd: {method}: {said or name}", hint)


def _connect(user: bool) -> Any:
    """Return jeepney's connection to the bus."""
    third_party.add_site_packages()
    try:
        from jeepney.bus import get_connectable_addresses
        from jeepney.io.blocking import DBusConnection
    except ImportError:
        raise Unsupported("the systemd driver needs the library jeepney", "pip install jeepney") from None
    address = _address(user)
    try:
        place = next(iter(get_connectable_addresses(address)))
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(_SECONDS)
            sock.connect(place)
            _authenticate(sock)
            sock.settimeout(None)
            return DBusConnection(sock)
        except BaseException:
            sock.close()
            raise
    except (OSError, ValueError, RuntimeError, StopIteration) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "loginctl enable-linger USER gives a user a manager without a login" if user else None
        raise Unsupported(f"cannot reach systemd over D-Bus at {address}: {reason}", hint) from None


def _address(user: bool) -> str:
    if not user:
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"
    from cratebox import paths

    return os.environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={paths.session_directory(_outer(os.geteuid()))}/bus"


def _authenticate(sock: socket.socket) -> None:
    """Say who we are (D-Bus specification, Authentication Protocol, EXTERNAL):
    as the bus sees us, from outside of a user namespace.
    """
    uid = str(_outer(os.geteuid())).encode().hex().encode()
    sock.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\n")
    line = b""
    while not line.endswith(b"\r\n") and len(line) < _LONGEST_LINE:
        part = sock.recv(_LONGEST_LINE)
        if not part:
            raise ConnectionResetError(104, "the bus hung up")
        line += part
    if not line.startswith(b"OK "):
        raise PermissionError(1, "the bus does not take us for who we are")
    sock.sendall(b"BEGIN\r\n")


def _outer(uid: int) -> int:
    """Return the number of a user outside of this user namespace (user_namespaces(7))."""
    for line in read_text("/proc/self/uid_map").splitlines():
        inside, outside, count = (int(word) for word in line.split())
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid
