"""What is asked of a container to learn whether it is well: Docker's HealthConfig, from flags and from the image."""

from __future__ import annotations

from cratebox import jsontext
from cratebox.engine.config import HealthCheck
from cratebox.engine.words import nanoseconds, shown
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.records import Container

NONE = HealthCheck(test=("NONE",))
ON_FAILURE = ("none", "kill", "restart", "stop")
_MILLISECOND, SECOND = 10**6, 10**9  # nanoseconds
_DEFAULTS = {"interval": 30 * SECOND, "timeout": 30 * SECOND, "start_interval": 5 * SECOND, "retries": 3}
_TIMES = ("interval", "timeout", "start_period", "start_interval")
_WORDS = {
    "interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod", "start_interval": "StartInterval", "retries": "Retries",
}  # fmt: skip
_SHELL = ("/bin/sh", "-c")


def command(text: str) -> tuple[str, ...]:
    """Return HealthConfig.Test for `--health-cmd text`: for a shell, a JSON list of words, or none. Raises InvalidValue."""
    if text.lower() == "none":
        return NONE.test
    if not text.lstrip().startswith("["):
        if not text.strip() or "\0" in text:
            raise InvalidValue("--health-cmd is empty", "a command for the container's shell, or --no-healthcheck")
        return ("CMD-SHELL", text)
    try:
        words = jsontext.loads(text.encode())
    except jsontext.JSONError:
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise InvalidValue(f"--health-cmd {shown(text)} is no list of words", """as '["pg_isready", "-q"]'""")
    return tuple(words) if words[0] in {"NONE", "CMD", "CMD-SHELL"} else ("CMD", *words)


def duration(text: str, what: str, disabling: bool = False) -> int:
    """Return the nanoseconds of a duration of at least 1 ms; 0 for 0, the default; -1 for "disable" where that is a word.

    Raises InvalidValue.
    """
    if disabling and text == "disable":
        return -1
    found = nanoseconds(text, what)
    if text.strip("+-0.nuµmsh") and found < _MILLISECOND:
        raise InvalidValue(f"{what} cannot be less than 1ms, as {shown(text)} is")
    return found


def check(container: Container) -> None:
    """Times that an image or a program asks for have the same bound as those of the flags. Raises InvalidValue."""
    found = wish(container)
    for name in _TIMES if found.test[:1] != NONE.test else ():
        number = getattr(found, name)
        if 0 < number < _MILLISECOND or (number < 0 and (name, number) != ("interval", -1)):
            raise InvalidValue(
                f"the health check of {container.image} has the {name.replace('_', ' ')} {number} ns: it cannot be less than 1ms",
                f"--health-{name.replace('_', '-')} overrides it, --no-healthcheck does without",
            )


def of_image(found: dict[str, Any] | None, shell: tuple[str, ...]) -> HealthCheck | None:
    """Return the HEALTHCHECK of an image's config, checked there already; `shell` is the image's SHELL."""
    if not found or not found["Test"]:
        return None
    given = {name: found[word] for name, word in _WORDS.items() if found.get(word)}
    return HealthCheck(test=found["Test"], shell=shell, **given)


def of(container: Container) -> HealthCheck | None:
    """Return the health check of a container with every number in it, None where it has none.

    What the flags leave open comes from the image, and what that leaves open is Docker's default.
    """
    found = wish(container)
    if found.test[:1] not in (("CMD",), ("CMD-SHELL",)) or len(found.test) < 2:
        return None
    return found.replace(**{name: getattr(found, name) or default for name, default in _DEFAULTS.items()})


def wish(container: Container) -> HealthCheck:
    """Return what the flags say and, where they say nothing, the image."""
    flags, image = container.config.health or HealthCheck(), container.defaults.healthcheck or HealthCheck()
    numbers = {name: getattr(flags, name) or getattr(image, name) for name in _WORDS}
    return HealthCheck(test=flags.test or image.test, shell=image.shell, **numbers)


def document(container: Container) -> dict[str, Any]:
    """Return Config.Healthcheck as `docker inspect` shows it: what was said, without the defaults."""
    found = wish(container)
    numbers = {word: getattr(found, name) for name, word in _WORDS.items()}
    return {"Test": list(found.test), **{word: number for word, number in numbers.items() if number}}


def words_of(check: HealthCheck) -> tuple[str, ...]:
    """Return the words of the program that is to be run in the container."""
    kind, *words = check.test
    return tuple(words) if kind == "CMD" else (*(check.shell or _SHELL), *words)
