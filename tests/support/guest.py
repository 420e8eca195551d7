"""What runs in the machine of emulator.py, by the system's own Python, as root: `guest.py`, beside its job.json.

Mounts the virtual environment and the checkout where the host has them and starts a pytest for each part, one beside the other:
root's in the service of systemd that this is, the ordinary user's in a scope of their own session.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PORT = "/dev/virtio-ports/crate.told"
LONGEST = 30_000  # characters of output


def main() -> None:
    job = json.loads((HERE / "job.json").read_text())
    subprocess.run(["udevadm", "settle", "--timeout=20"])
    port = os.open(PORT, os.O_WRONLY | os.O_CLOEXEC)
    for name, place in job["places"].items():
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "--bind", str(HERE / name), place], check=True)
    os.chmod(HERE, 0o755)
    parts = [threading.Thread(target=run, args=(job, part, port)) for part in job["parts"]]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    os.close(port)


def run(job: dict[str, Any], part: dict[str, Any], port: int) -> None:
    """Run one part to its end or until its time is over, and tell how it ended."""
    person = part["person"]
    argv = [job["python"], "-m", "pytest", "-p", "support.telling", "-p", "no:cacheprovider", "-v", "--tb=short",
            "--timeout=240", "--color=no", *part["chosen"]]  # fmt: skip
    options: dict[str, Any] = {"env": environment(job, part, port)}
    if person != "root":
        account = pwd.getpwnam(job["ordinary"])
        options["env"] |= session(account)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        argv = ["systemd-run", "--user", "--scope", "--quiet", "--property=Delegate=yes", "--", *argv]
    log = Path(f"/run/{person}.log")
    end = "timeout"
    with open(log, "wb") as output:
        options |= {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "pass_fds": (port,)}
        process = subprocess.Popen(argv, cwd=job["places"]["checkout"], start_new_session=True, **options)
        try:
            end = str(process.wait(part["seconds"]))
        except subprocess.TimeoutExpired:
            process.kill()
    said = log.read_text(errors="replace")[-LONGEST:]
    tell(port, {"person": person, "end": end, "output": said})
    print(f"{person}: {end}\n{said[-3000:]}", flush=True)


def environment(job: dict[str, Any], part: dict[str, Any], port: int) -> dict[str, str]:
    """Return the variables of pytest, and those of telling.py."""
    places = job["places"]
    return {
        "PATH": f"{places['environment']}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{places['checkout']}/tests",
        "CRATE_TEST_COMMAND": f"{places['environment']}/bin/crate",
        "CRATE_TEST_USER": job["ordinary"],
        "CRATE_TEST_SLOWER": "4",
        "CRATE_TELL_FD": str(port),
        "CRATE_TELL_AS": part["person"],
        "CRATE_TEST_ALPINE": str(HERE / "alpine.tar.gz"),
        "CRATE_TELL_CHOSEN": json.dumps(part["chosen"]),
    }


def session(account: pwd.struct_passwd) -> dict[str, str]:
    """Return what a login of this user has in its environment."""
    runtime = f"/run/user/{account.pw_uid}"
    return {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "XDG_RUNTIME_DIR": runtime,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}  # fmt: skip


def tell(port: int, what: dict[str, str]) -> None:
    data = (json.dumps(what) + "\n").encode()
    with open(HERE / "job.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        while data:
            data = data[os.write(port, data) :]


if __name__ == "__main__":
    sys.exit(main())
