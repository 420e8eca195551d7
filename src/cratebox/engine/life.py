"""The life of a container under its supervisor: run after run, until its restart policy says that there is no next one."""

from __future__ import annotations

import os
import time

from cratebox.engine import dialogue, events, exits, guardian, records, streams
from cratebox.engine.client import Client
from cratebox.engine.loop import READ, Loop
from cratebox.engine.running import Run
from cratebox.engine.vanishing import vanish
from cratebox.errors import CrateError
from cratebox.linux import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from cratebox.engine.control import Door
    from cratebox.engine.custody import Custody
    from cratebox.engine.dialogue import Watch
    from cratebox.engine.guardian_watch import GuardianWatch
    from cratebox.engine.loop import Timer
    from cratebox.engine.part import Part
    from cratebox.engine.pump import Stream
    from cratebox.engine.sleeping import Drowsiness, Sleep
    from cratebox.runtime.state import State

_SECONDS_TO_SETTLE = 0.01


def parts_of(watch: Watch) -> tuple[Part, ...]:
    """Return what goes along with this container's runs; nothing more is loaded where that is nothing."""
    if not watch.accompanied:
        return ()
    from cratebox.engine import parts

    return parts.of(watch)


def door_of(slept: Sleep | None, loop: Loop) -> Door | None:
    """Return the door that was there before a sleep: who has come to it meanwhile waits."""
    if not slept or slept.door < 0:
        return None
    from cratebox.engine import control

    return control.Door(loop, control.kept(slept.door))


class Life:
    """All runs of one container under this supervisor. `clients` are those who are attached, or wait for the start."""

    def __init__(
        self, watch: Watch, custody: Custody, clients: list[Client], slept: Sleep | None = None, busy: int = -1
    ) -> None:
        self.watch, self.custody = watch, custody
        self._busy = busy  # see guardian.settle
        self.loop = Loop()
        self.clients = clients
        self.before: exits.Exit | None = None  # how it ended the last time
        self.parts = parts_of(watch)
        self._run: Run | None = None
        self._guardian: GuardianWatch | None = None
        self._door = door_of(slept, self.loop)
        self._settling: Timer | None = None
        self._wakes = slept.wakes - slept.is_over if slept else 0
        self._drowsiness: Drowsiness | None = None
        for client in clients:
            client.left = self._left

    # Run after run

    def live(self) -> None:
        """Run the container as often as it is to run. Raises what kept it from starting."""
        self._go_on(self._begin())

    def resume(self, state: State, console: int, pidfd: int = -1) -> None:
        """Go on with a run whose supervisor was killed, and with those that follow it. Raises as `live`.

        `pidfd` is of its process where that is a child of somebody else.
        """
        run = self._new_run()
        run.resume(state, console, pidfd)
        self._welcome(run)
        for part in self.parts:
            part.resumed(run)
        self._go_on(run)

    def follow(self, ended: exits.Exit) -> None:
        """Go on after a run whose end is written down already. Raises as `live`."""
        for part in self.parts:
            part.followed(ended)
        self._go_on(self._next(ended, self._delay(ended, ended.finished_at - ended.started_at)))

    def recall(self) -> None:
        """Know what the supervisor has told that was killed while it began a run again: before its state is forgotten."""
        for part in self.parts:
            part.recalled()

    def retry(self, error: CrateError, started_at: float) -> None:
        """Go on, once it was recalled, with a run that another supervisor was killed while it began,
        and that was not the first. Raises as `live`.

        It counts as one that failed with `error`, and is said to have begun at `started_at` (seconds since 1970).
        """
        ended, delay = self._failed(error, exits.Exit(0, started_at, started_at))
        self._go_on(self._next(ended, delay))

    def _go_on(self, run: Run | None) -> None:
        while run:
            ended = run.stay()
            self._tell("die", exitCode=str(ended.code), execDuration=str(int(time.time() - run.started_at)))
            self._tell_volumes("unmount")
            exits.tell(self.watch.directory, ended.code)
            if self.watch.remove:
                self._vanish(run, ended)
                return
            run = self._next(*self._end(run, ended))

    def _next(self, ended: exits.Exit, delay: float | None) -> Run | None:
        """Begin the next run, as late and with as many attempts as it takes; None where there is to be none any more."""
        while delay is not None:
            self._say_goodbye(ended)
            if not self._rest(delay):
                break
            try:
                self._renew()
                return self._begin()
            except (CrateError, OSError) as error:
                ended, delay = self._failed(error, ended)
        if ended.restarting:
            self._write_down(ended)  # once more: it is not about to
        lock.release(self.watch.lock)  # before the clients hear of it: they may start or remove it at once
        self._say_goodbye(ended)
        return None

    def _new_run(self) -> Run:
        self._run = Run(self.watch, self.loop, self._unheard)
        return self._run

    def _begin(self) -> Run:
        if not self.watch.remove:
            self.before = exits.begin(self.watch.directory)  # first: whatever fails, it is known that it has run before
        run = self._new_run()
        run.begin(self._let_guard, self._entrust)
        self._tell("start")
        self._tell_volumes("mount")
        self._welcome(run)
        for part in self.parts:
            part.begun(run)
        return run

    def _welcome(self, run: Run) -> None:
        for client in self.clients[:]:
            client.join(run)
        self._hear_reports()
        self._settling = self.loop.after(_SECONDS_TO_SETTLE, self._settle)

    def _settle(self) -> None:
        """Do what a container that ends at once does without."""
        from cratebox.engine.sleeping import Drowsiness

        self._watched_guardian()
        if self._run:
            self._run.keep_state()
        self._open_door()
        self._look_after_networks()
        self._drowsiness = Drowsiness(self.loop, self._wakes, self._fall_asleep)

    def _look_after_networks(self) -> None:
        if self._run and self.watch.network and self.watch.container.owner.rootless:
            from cratebox.engine import network_watch

            self.parts = network_watch.looked_after(self.parts, self.watch, self._run)

    def _fall_asleep(self, wakes: int) -> None:
        """Sleep where all that this supervisor waits for can wake it, and another can go on."""
        run, door, above = self._run, self._door.fd if self._door else -1, self._guardian.fd if self._guardian else -1
        if not run or self.clients or not run.can_be_left:
            return
        console = run.console if run.pump.streams and run.pump.streams[0].source >= 0 else -1
        usual = (self.custody.ours.fileno(), door, above, run.vigil.pidfd, *(one.source for one in run.pump.streams))
        known = dict.fromkeys((fd for fd in usual if fd >= 0), READ)
        for part in self.parts:
            known |= part.watched
        timers = self.loop.timers
        if self.loop.watched <= known.keys() and timers.issubset(timer for part in self.parts for timer in part.timers):
            from cratebox.engine import sleeping

            if not sleeping.worth_it(timers):
                return
            run.pump.flush()
            run.keep_state()
            due = int(min(timer.due for timer in timers) * 1000) if timers else -1
            sleeping.sleep(self._ward(), self.custody, sleeping.Sleep(wakes, console, door, run.state_fd, due), known)

    # Those who come later

    def _leave(self) -> None:
        self._run = None
        self.loop.cancel(self._settling)
        self.loop.cancel(self._drowsiness.timer if self._drowsiness else None)
        self._close_door()

    def _open_door(self) -> None:
        from cratebox.engine import control

        if self._door and not control.is_there(self.watch.state_directory):
            self._close_door()  # somebody has deleted it
        try:
            self._door = self._door or control.Door(self.loop, control.listen(self.watch.state_directory))
        except OSError:
            return  # nobody can attach; that is told there
        self._door.open(self._meet)

    def _close_door(self) -> None:
        if self._door:
            self._door.close()
            self._door = None

    def _meet(self, sock: _socket.socket, message: bytes, fds: tuple[int, ...]) -> None:
        """Do what somebody at the door wants; one who is attached is a client like the first."""
        if message == dialogue.CHANGED:
            self._catch_up()
            self._look_after_networks()
        if message == dialogue.PROBE and True in [part.asked(sock) for part in self.parts]:
            streams.close(*fds)
            return  # answered later
        if message != dialogue.ATTACH or len(fds) != 2 or not self._run:
            streams.close(*fds)
            sock.close()
            return
        client = Client(sock, dict(zip(("stdout", "stderr"), fds, strict=True)), attached=True)
        client.left = self._left
        self.clients.append(client)
        client.join(self._run)
        self._entrust()

    def _end(self, run: Run, ended: exits.Exit) -> tuple[exits.Exit, float | None]:
        """Write down how the run ended and take away what it had; return that and in how many seconds the next one begins."""
        delay = self._delay(ended, ended.finished_at - ended.started_at)
        ended = self._write_down(ended)
        self._leave()
        run.clean()
        self.custody.drop_report()
        for part in self.parts:
            part.ended(run, ended)
        return ended, delay

    def _failed(self, error: CrateError | OSError, before: exits.Exit) -> tuple[exits.Exit, float | None]:
        """A run that could not even begin counts as one that failed: what is in its way may go."""
        code = error.exit_code if isinstance(error, CrateError) else 125
        ended = exits.Exit(code, before.started_at, time.time(), str(error))
        delay = self._delay(ended, 0.0)
        return self._write_down(ended), delay

    def _delay(self, ended: exits.Exit, took: float) -> float | None:
        self._catch_up()
        wanted = [part.after(ended, took) for part in self.parts]
        return next((delay for delay in wanted if delay is not None), None)

    def _catch_up(self) -> None:
        """Have what goes along with it as its record says now: the user may have given it a restart policy, or a limit,
        while it ran.
        """
        version = records.version(self.watch.directory)
        if version == self.watch.record or version == (0, 0):
            return
        self.watch = self.watch.replace(accompanied=True, record=version)
        known = {type(part) for part in self.parts}
        try:
            found = parts_of(self.watch)
        except CrateError:
            return  # its record is damaged: what was known of it counts
        for part in found:
            if type(part) not in known:
                self.parts += (part,)
                if self._run:
                    part.resumed(self._run)

    def _write_down(self, ended: exits.Exit) -> exits.Exit:
        for part in self.parts:
            ended = part.known(ended)
        try:
            exits.write(self.watch.directory, ended)  # before the state is forgotten: it is never unknown how it is
        except OSError:
            pass  # who is attached hears the code; to others it is lost, as after a crash
        return ended

    def _vanish(self, run: Run, ended: exits.Exit) -> None:
        """Keep --rm. Nobody waits for more than its name: it is no container any more, and its ID never comes again."""
        self._leave()
        run.disconnect()
        run.forget()
        delete = vanish(self.watch.container)
        self._say_goodbye(ended)
        run.clean()
        try:
            delete()
        except (CrateError, OSError):
            pass  # files that cannot be deleted stay, hidden, until the next `rm`

    def _say_goodbye(self, ended: exits.Exit) -> None:
        clients, self.clients = self.clients, []
        self.custody.hold({})
        for client in clients:
            client.say(dialogue.EXITED + str(ended.code).encode())
            client.close()

    def _rest(self, seconds: float) -> bool:
        """Wait for the next run; return whether it is still wanted."""
        over: list[bool] = []
        timer = self.loop.after(seconds, lambda: over.append(True))
        for part in self.parts:
            part.resting(self.loop, seconds, lambda: over.append(True))
        while not over:
            self.loop.turn()
        self.loop.cancel(timer)
        wanted = [part.rested(self.loop) for part in self.parts]
        return all(wanted)

    def _renew(self) -> None:
        """Make ready for the next run what a start makes ready: the container may have been changed meanwhile."""
        from cratebox.engine import renewal

        self.watch = renewal.renewed(self.watch)

    def _tell(self, action: str, **more: str) -> None:
        who = self.watch.container
        about = events.renewed(who.paths, who.id, who.attributes, self._run.started_at if self._run else 0.0)
        events.emit(who.paths, "container", action, who.id, {**about, **more})

    def _tell_volumes(self, action: str) -> None:
        if self.watch.volumes:
            from cratebox.engine import volume_filling

            volume_filling.tell(self.watch.container.paths, self.watch.volumes, action)

    # What outlives this supervisor

    def _let_guard(self) -> None:
        busy, self._busy = self._busy, -1
        guardian.settle(busy)

    def _entrust(self) -> None:
        """Have the guardian keep what it cannot have inherited: a terminal, those who are attached, and what is left of a
        process that is not its child.
        """
        named = {"console": self._run.console} if self._run and self._run.console >= 0 else {}
        if self._run and self._run.vigil.strange and self._run.vigil.pidfd >= 0:
            named["pidfd"] = self._run.vigil.pidfd
        if self._run:
            named |= {f"port.{number}": fd for number, fd in enumerate(self._run.watch.ports)}
        for number, client in enumerate(self.clients):
            named |= {f"{number}.{name}": fd for name, fd in client.descriptors.items()}
        self.custody.hold(named)

    def _left(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
            self._entrust()

    def _watched_guardian(self) -> GuardianWatch:
        from cratebox.engine.guardian_watch import GuardianWatch

        if not self._guardian or self._guardian.fd < 0:
            self._guardian = GuardianWatch(self.loop, self.custody, self._ward, self._divided)
        return self._guardian

    def _ward(self) -> guardian.Ward:
        return guardian.ward_of(self.watch)

    def _divided(self, parent: int) -> None:
        """There is another guardian: what it forked is this process, and what was its child is a child of `parent`."""
        if self._run:
            self._run.vigil.orphan(parent)
            self._entrust()

    def _hear_reports(self) -> None:
        self.loop.unwatch(self.custody.ours.fileno())
        self.loop.watch(self.custody.ours.fileno(), self._hear_report)

    def _hear_report(self) -> None:
        report = self.custody.report()
        if report and self._run and self._run.vigil.told(*report):
            self.loop.unwatch(self.custody.ours.fileno())  # it stays there until its end is written down
        else:
            self.custody.drop_report()

    def _unheard(self, stream: Stream) -> None:
        """Nobody listens to a stream any more. Where the log goes with the container, nobody ever will: its pipe is closed for
        the container as well, which ends as it would behind a shell's pipe. The guardian has it open too, and is replaced.
        """
        if not self.watch.remove or self._run is None or self._run.console >= 0:
            return
        self._run.pump.end(stream)
        number = ("stdout", "stderr").index(stream.name)
        os.close(self.watch.output[number])
        output = tuple(-1 if at == number else fd for at, fd in enumerate(self.watch.output))
        self.watch = self._run.watch = self.watch.replace(output=output)
        self._watched_guardian().replace()
