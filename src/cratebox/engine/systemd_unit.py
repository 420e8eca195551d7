"""Units for systemd (systemd.service(5)): one that keeps a container running, and one for all that come back at a boot.

A container's unit runs `crate start --attach`, which stays as long as the container does, shows its output to the journal, and
ends with its exit code: so what systemd takes for the main process is one that lives and dies with the container, and its
Restart= sees how it ended. No PID file has to be trusted. ExecStopPost= ends the container where that process alone was killed.
"""

from __future__ import annotations

from cratebox.record import Record

RESTARTS = ("no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")
_SECONDS_MORE = 20  # for what comes after a stop: SIGKILL, its supervisor's last words


class Unit(Record):
    """What a container's unit is made of. `command` is crate with its --root and --state; `reference` is a name or an ID;
    `stop_timeout` is in seconds, negative for ever.
    """

    command: tuple[str, ...]
    reference: str
    description: str
    root: str
    restart: str = "on-failure"
    stop_timeout: int = 10
    rootless: bool = False


def word(text: str) -> str:
    """Return `text` as one word of a command line in a unit: no specifier, no variable, no end of line in it.

    Quoting and C-style escapes are those of systemd.syntax(7); % and $ are doubled (systemd.service(5), Command lines).
    """
    plain = text.replace("%", "%%").replace("$", "$$")
    if plain and all((one.isalnum() and one.isascii()) or one in "-_./:@%$=+," for one in plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else _escape(one) for one in escaped) + '"'


def _escape(one: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in one.encode(errors="surrogateescape"))


def _line(text: str) -> str:
    """Return `text` as the value of a setting that is no command line: in one line, nothing expanded."""
    kept = "".join(one if one.isprintable() else "?" for one in text)
    return kept.replace("%", "%%").replace("\\", "\\\\")


def of_container(unit: Unit) -> str:
    """Return the unit of one container."""
    crate = " ".join(map(word, unit.command))
    name, seconds = word(unit.reference), unit.stop_timeout
    whole = "infinity" if seconds < 0 else str(seconds + _SECONDS_MORE)
    return f"""[Unit]
Description={_line(unit.description)}
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target
RequiresMountsFor={word(unit.root)}

[Service]
Type=exec
ExecStart={crate} start --attach {name}
ExecStop={crate} stop --timeout {seconds} {name}
ExecStopPost=-{crate} stop --timeout 0 {name}
Restart={unit.restart}
SuccessExitStatus=143
TimeoutStopSec={whole}
KillMode=mixed
Delegate=yes

{_install(unit.rootless)}"""


def of_system(command: tuple[str, ...], root: str, rootless: bool) -> str:
    """Return the unit that starts at each boot what restart policies say, and stops all before the machine goes down."""
    crate = " ".join(map(word, command))
    return f"""[Unit]
Description=Containers of crate that their restart policies bring back
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target
RequiresMountsFor={word(root)}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={crate} system start
ExecStop={crate} system stop
SuccessExitStatus=1
TimeoutStartSec=infinity
TimeoutStopSec=infinity
KillMode=process
Delegate=yes

{_install(rootless)}"""


def _install(rootless: bool) -> str:
    return f"[Install]\nWantedBy={'default.target' if rootless else 'multi-user.target'}\n"
