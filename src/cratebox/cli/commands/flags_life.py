"""The flags that say what happens to a container over time: restarts, a longest time, health."""

from __future__ import annotations

from cratebox.cli.options import Flag, Words
from cratebox.engine import healthcheck, restarts
from cratebox.engine.config import ContainerConfig, HealthCheck
from cratebox.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIFE, HEALTH = "Over time", "Health"

RESTART = Flag("restart", metavar="POLICY", help="no, always, unless-stopped or on-failure[:RETRIES]: when to start it again",
               default="no", group=LIFE)  # fmt: skip
FLAGS = (
    RESTART,
    Flag("timeout", metavar="SECONDS", help="kill it when it has run for so long; 0 for never", group=LIFE),
    Flag("health-cmd", metavar="COMMAND", help="run this in the container's shell now and then: 0 is healthy", group=HEALTH),
    Flag("health-interval", metavar="DURATION", help="how long to wait between two runs (30s); disable: only by hand", group=HEALTH),
    Flag("health-timeout", metavar="DURATION", help="a run that takes longer has failed, and is killed (30s)", group=HEALTH),
    Flag("health-retries", metavar="N", help="so many failures in a row are unhealthy (3)", group=HEALTH),
    Flag("health-start-period", metavar="DURATION", help="failures do not count for so long after the start (0s)", group=HEALTH),
    Flag("health-start-interval", metavar="DURATION", help="the interval during the start period (5s)", group=HEALTH),
    Flag("health-on-failure", metavar="none|kill|restart|stop", help="what to do when it becomes unhealthy", default="none",
         words=healthcheck.ON_FAILURE, group=HEALTH),
    Flag("no-healthcheck", help="not even the image's HEALTHCHECK", group=HEALTH),
)  # fmt: skip
_DURATIONS = ("interval", "timeout", "start-period", "start-interval")


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what was typed. Raises UsageError, InvalidValue."""
    restart, on_failure = (
        restarts.check(words.text("restart") or "no", config.remove),
        words.text("health-on-failure") or "none",
    )
    if on_failure == "restart" and (restart != "no" or config.remove):
        what = "--rm" if config.remove else "--restart"
        raise UsageError(
            f"--health-on-failure restart and {what} contradict each other", "kill leaves it to the restart policy"
        )
    return config.replace(
        restart=restart, timeout=words.number("timeout") or 0, health=_health(words), health_on_failure=on_failure
    )


def _health(words: Words) -> HealthCheck | None:
    names = [name for name in ("cmd", *_DURATIONS, "retries") if words.given("health-" + name)]
    if words.yes("no-healthcheck"):
        if names or words.text("health-on-failure") != "none":
            raise UsageError(
                f"--no-healthcheck and --health-{(names or ['on-failure'])[0]} contradict each other", "leave one out"
            )
        return healthcheck.NONE
    if not names:
        return None
    given: dict[str, Any] = {
        name.replace("-", "_"): healthcheck.duration(words.text("health-" + name) or "", "--health-" + name, name == "interval")
        for name in _DURATIONS
        if words.given("health-" + name)
    }
    if words.given("health-cmd"):
        given["test"] = healthcheck.command(words.text("health-cmd") or "")
    return HealthCheck(retries=words.number("health-retries") or 0, **given)
