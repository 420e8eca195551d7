"""A small systemd for tests of the dialogue: it has the name on a bus of the test's own, and makes the cgroups of scopes.

    python fake_systemd.py ADDRESS LOG [FAIL]

Each call is a line of JSON in LOG. With FAIL, jobs end with that result.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from jeepney import DBusAddress, MessageType, message_bus, new_error, new_method_return, new_signal
from jeepney.io.blocking import open_dbus_connection

from cratebox.cgroup import mounts, tree, units

NAME, PATH, MANAGER = "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
MANAGED = ("cpu", "cpuacct", "blkio", "memory", "devices", "pids", "name=systemd")


def places() -> list[str]:
    hierarchies, unified = mounts.find()
    found = [mountpoint for names, mountpoint in hierarchies if set(names.split(",")) & set(MANAGED)]
    return found or [unified.mountpoint]


class Refusal(Exception):
    pass


class Fake:
    def __init__(self, log: str, fail: str) -> None:
        self.log = log
        self.result = fail or "done"
        self.scopes: dict[str, str] = {}
        self.jobs = 0

    def call(self, method: str, body: tuple) -> tuple[str, tuple, tuple | None]:
        """Return the signature and body of the answer, and the (job, unit) that has ended."""
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps([method, body], default=list) + "\n")
        return getattr(self, method)(*body)

    def Subscribe(self) -> tuple:  # noqa: N802
        return "", (), None

    def StartTransientUnit(self, name: str, mode: str, properties: list, auxiliary: list) -> tuple:  # noqa: N802
        if name in self.scopes:
            raise Refusal("UnitExists", f"Unit {name} already exists.")
        given = {key: value for key, (_signature, value) in properties}
        if self.result == "done":
            where = units.directory_of(given["Slice"]) + "/" + name
            for place in places():
                os.makedirs(place + where)
                for pid in given["PIDs"]:
                    tree.write(place + where, "cgroup.procs", str(pid))
            self.scopes[name] = where
        return self._job(name)

    def StopUnit(self, name: str, mode: str) -> tuple:  # noqa: N802
        self._must_know(name)
        where = self.scopes.pop(name)
        for place in places():
            for pid in tree.processes(place + where):
                os.kill(pid, signal.SIGKILL)
        for place in places():
            tree.remove_tree(place + where, time.monotonic() + 5)
            os.rmdir(os.path.dirname(place + where))
        return self._job(name)

    def ResetFailedUnit(self, name: str) -> tuple:  # noqa: N802
        self._must_know(name)
        return "", (), None

    def SetUnitProperties(self, name: str, runtime: bool, properties: list) -> tuple:  # noqa: N802
        self._must_know(name)
        return "", (), None

    def AttachProcessesToUnit(self, name: str, below: str, pids: list) -> tuple:  # noqa: N802
        self._must_know(name)
        return "", (), None

    def GetUnit(self, name: str) -> tuple:  # noqa: N802
        self._must_know(name)
        return "o", (f"{PATH}/unit/{name.encode().hex()}",), None

    def Get(self, path: str, interface: str, wanted: str) -> tuple:  # noqa: N802
        name = bytes.fromhex(path.rpartition("/")[2]).decode()
        return "v", (("s", self.scopes[name]),), None

    def _job(self, name: str) -> tuple:
        self.jobs += 1
        job = f"{PATH}/job/{self.jobs}"
        return "o", (job,), (self.jobs, job, name, self.result)

    def _must_know(self, name: str) -> None:
        if name not in self.scopes:
            raise Refusal("NoSuchUnit", f"Unit {name} not loaded.")


def main() -> None:
    address, log, *fail = sys.argv[1:]
    connection = open_dbus_connection(address)
    connection.send_and_get_reply(message_bus.RequestName(NAME))
    fake = Fake(log, fail[0] if fail else "")
    with open(log, "w", encoding="utf-8"):
        pass
    emitter = DBusAddress(PATH, interface=MANAGER)
    while True:
        message = connection.receive()
        if message.header.message_type != MessageType.method_call:
            continue
        fields = {field.name: value for field, value in message.header.fields.items()}
        body = ((fields["path"],) if fields["member"] == "Get" else ()) + tuple(message.body)
        try:
            signature, answer, job = fake.call(fields["member"], body)
        except Refusal as error:
            connection.send(new_error(message, f"{NAME}.{error.args[0]}", "s", (error.args[1],)))
            continue
        if job:  # before the answer, as it may happen
            connection.send(new_signal(emitter, "JobRemoved", "uoss", (999, f"{PATH}/job/999", "other.service", "done")))
            connection.send(new_signal(emitter, "JobRemoved", "uoss", job))
        connection.send(new_method_return(message, signature or None, answer))


if __name__ == "__main__":
    try:
        main()
    except (ConnectionError, KeyboardInterrupt):
        pass
