"""Random commands on a few containers, and processes of crate killed in between, against a model of what each has to answer.

The model is Docker's: which command is possible in which state, what comes of it, how it is told. CRATE_TEST_STEPS is the
number of commands of each of the runs, 14 where nothing is said.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from subprocess import DEVNULL

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

NAMES = ("one", "two", "three")
SLEEPER = ("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done")
STEPS = int(os.environ.get("CRATE_TEST_STEPS", "14"))
RUNS = 5
SETTLED = 5.0  # seconds

NOT_RUNNING = r"is (created|exited|dead), not running"
NO_SUCH = r"no container"


class Commands(RuleBasedStateMachine):
    """`model` has each container's state (created, running, paused, exited) and exit code, by name."""

    box: object  # set by the test
    pausing = True

    @initialize()
    def begin(self) -> None:
        self.model: dict[str, tuple[str, int]] = {}

    # What is done

    def crate(self, *words: str) -> tuple[int, str]:
        done = self.box.crate(*words)  # type: ignore[attr-defined]
        assert "Traceback" not in done.stderr, f"{words}: {done.stderr}"
        assert "internal error" not in done.stderr, f"{words}: {done.stderr}"
        return done.returncode, done.stdout + done.stderr

    def succeeds(self, *words: str) -> str:
        code, said = self.crate(*words)
        assert code == 0, f"{words} in {self.model}: {code}, {said}"
        return said

    def fails(self, why: str, *words: str) -> None:
        code, said = self.crate(*words)
        assert (code in {1, 125}, bool(re.search(why, said))) == (True, True), f"{words} in {self.model}: {code}, {said}"

    def state(self, name: str) -> str:
        return self.model.get(name, ("none", 0))[0]

    @rule(name=st.sampled_from(NAMES))
    def create(self, name: str) -> None:
        words = ("create", "--name", name, self.box.image, *SLEEPER)  # type: ignore[attr-defined]
        if name in self.model:
            self.fails(r"(taken|in use|has the name)", *words)
        else:
            self.succeeds(*words)
            self.model[name] = ("created", 0)

    @rule(name=st.sampled_from(NAMES), code=st.sampled_from((0, 3)))
    def run_to_its_end(self, name: str, code: int) -> None:
        words = ("run", "--name", name, self.box.image, "sh", "-c", f"exit {code}")  # type: ignore[attr-defined]
        if name in self.model:
            self.fails(r"(taken|in use|has the name)", *words)
        else:
            assert self.crate(*words)[0] == code
            self.model[name] = ("exited", code)
            self.succeeds("rm", name)  # another start of it would be over at once
            del self.model[name]

    @rule(name=st.sampled_from(NAMES))
    def start(self, name: str) -> None:
        now = self.state(name)
        if now == "none":
            self.fails(NO_SUCH, "start", name)
        elif now in {"created", "exited"}:
            self.succeeds("start", name)
            self._ready(name)
        elif now == "running":
            assert self.succeeds("start", name).strip() == name  # it is done, as Docker sees it
        else:
            self.fails("is paused", "start", name)

    def _ready(self, name: str) -> None:
        """Its shell has set its trap once it has a child."""
        self.model[name] = ("running", 0)
        pid = json.loads(self.succeeds("inspect", name))[0]["State"]["Pid"]
        deadline = time.monotonic() + SETTLED
        while not Path(f"/proc/{pid}/task/{pid}/children").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)

    @rule(name=st.sampled_from(NAMES))
    def stop(self, name: str) -> None:
        now = self.state(name)
        if now == "none":
            self.fails(NO_SUCH, "stop", name)
            return
        self.succeeds("stop", name)
        if now in {"running", "paused"}:
            self.model[name] = ("exited", 7)

    @rule(name=st.sampled_from(NAMES))
    def kill(self, name: str) -> None:
        now = self.state(name)
        if now == "none":
            self.fails(NO_SUCH, "kill", name)
        elif now in {"running", "paused"}:
            self.succeeds("kill", name)
            self.model[name] = ("exited", 137)
            assert self.succeeds("wait", name).strip() == "137"
        else:
            self.fails(NOT_RUNNING, "kill", name)

    @rule(name=st.sampled_from(NAMES))
    def restart(self, name: str) -> None:
        if self.state(name) == "none":
            self.fails(NO_SUCH, "restart", name)
            return
        self.succeeds("restart", name)
        self._ready(name)

    @precondition(lambda self: self.pausing)
    @rule(name=st.sampled_from(NAMES))
    def pause(self, name: str) -> None:
        now = self.state(name)
        if now == "running":
            self.succeeds("pause", name)
            self.model[name] = ("paused", 0)
        else:
            self.fails(NO_SUCH if now == "none" else r"paused|not running", "pause", name)

    @precondition(lambda self: self.pausing)
    @rule(name=st.sampled_from(NAMES))
    def unpause(self, name: str) -> None:
        now = self.state(name)
        if now == "paused":
            self.succeeds("unpause", name)
            self.model[name] = ("running", 0)
        else:
            self.fails(NO_SUCH if now == "none" else "not paused", "unpause", name)

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def rename(self, name: str, other: str) -> None:
        if name not in self.model:
            self.fails(NO_SUCH, "rename", name, other)
        elif other in self.model:
            self.fails(r"taken|in use|has that name|has the name", "rename", name, other)
        else:
            self.succeeds("rename", name, other)
            self.model[other] = self.model.pop(name)

    @rule(name=st.sampled_from(NAMES), force=st.booleans())
    def rm(self, name: str, force: bool) -> None:
        now = self.state(name)
        words = ("rm", *(("-f",) if force else ()), name)
        if now == "none":
            code, said = self.crate(*words)
            assert (code == 0) == force or re.search(NO_SUCH, said), f"{words}: {code}, {said}"
        elif now in {"running", "paused"} and not force:
            self.fails(f"is {now}", *words)
        else:
            self.succeeds(*words)
            del self.model[name]

    @rule(name=st.sampled_from(NAMES))
    def exec(self, name: str) -> None:
        now = self.state(name)
        words = ("exec", name, "sh", "-c", "exit 5")
        if now == "running":
            assert self.crate(*words)[0] == 5
        else:
            self.fails(NO_SUCH if now == "none" else r"paused|not running", *words)

    @rule(name=st.sampled_from(NAMES))
    def wait(self, name: str) -> None:
        now, code = self.model.get(name, ("none", 0))
        if now == "none":
            self.fails(NO_SUCH, "wait", name)
        elif now in {"created", "exited"}:
            assert self.succeeds("wait", name).strip() == str(code)

    # What happens to it

    @rule(name=st.sampled_from(NAMES))
    def its_process_dies(self, name: str) -> None:
        if self.state(name) == "running":
            os.kill(json.loads(self.succeeds("inspect", name))[0]["State"]["Pid"], signal.SIGKILL)
            assert self.succeeds("wait", name).strip() == "137"
            self.model[name] = ("exited", 137)

    @rule(
        name=st.sampled_from(NAMES), delay=st.floats(0, 0.1), verb=st.sampled_from(("start", "stop", "kill", "rm", "restart"))
    )
    def a_client_is_killed(self, name: str, delay: float, verb: str) -> None:
        """Afterwards it is as before, or as after the command, once all has settled."""
        if name not in self.model:
            return
        process = self.box.crate.start(verb, name, stdout=DEVNULL, stderr=DEVNULL, stdin=DEVNULL)  # type: ignore[attr-defined]
        time.sleep(delay)
        process.kill()
        process.wait(60)
        self._learn(name, self._expected(name, verb))

    def _expected(self, name: str, verb: str) -> set[str]:
        now = self.state(name)
        after = {"start": "running", "restart": "running", "stop": "exited", "kill": "exited", "rm": "none"}[verb]
        between = {"exited"} if verb == "restart" else set()
        if verb == "rm" and now in {"running", "paused"}:
            after = now
        if now == "created" and verb in {"stop", "kill"}:
            after = now
        return {now, after} | between

    def _learn(self, name: str, expected: set[str]) -> None:
        deadline = time.monotonic() + SETTLED
        before = None
        while time.monotonic() < deadline:
            told = self._told().get(name, ("none", 0))
            if told == before:
                break
            before = told
            time.sleep(0.5)
        assert told[0] in expected, f"{name} is {told}, not one of {expected}"
        if told[0] == "none":
            del self.model[name]
        elif told[0] == "running":
            self._ready(name)
        else:
            self.model[name] = told

    def _told(self) -> dict[str, tuple[str, int]]:
        ids = self.succeeds("ps", "-aq", "--no-trunc").split()
        if not ids:
            return {}
        states = [(one["Name"][1:], one["State"]) for one in json.loads(self.succeeds("inspect", *ids))]
        return {name: (state["Status"], state["ExitCode"]) for name, state in states}

    # What is always so

    @rule()
    def all_is_told_as_it_is(self) -> None:
        assert self._told() == self.model

    def teardown(self) -> None:
        told = self._told()
        assert told == getattr(self, "model", {})
        if told:
            self.succeeds("rm", "-f", *told)
        assert self._told() == {}


def test_commands_in_any_order_answer_as_the_model_does(box) -> None:
    class Bound(Commands):
        pass

    Bound.box = box
    Bound.pausing = box.crate.person.is_root
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            database=None,
        ),
    )
