"""What an image says about the containers that are made of it."""

from __future__ import annotations

from cratebox.engine.config import HealthCheck
from cratebox.record import Record


class ImageDefaults(Record):
    """What an image says about how it is to be run (image-spec, config.md)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    healthcheck: HealthCheck | None = None
    volumes: tuple[str, ...] = ()  # directories; they are made where they are missing
    exposed: tuple[str, ...] = ()  # PORT/PROTOCOL, as the image has it
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
