"""What a collector is told: its folders, doors and processes. Validated when made."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tracelens.errors import StartError, UsageError
from tracelens.ports import OFF, TAKING, flag

MAX_WORKERS = 64
LOOPBACK_NAMES = ("localhost", "ip6-localhost")


class Engine(StrEnum):
    """What speaks gRPC on the OTLP/gRPC door."""

    GRPCIO = "grpcio"
    ASGI = "asgi"


@dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises UsageError when it is none."""
        host, _, port = text.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise UsageError(f"{text!r} is no address. Write HOST:PORT as 127.0.0.1:4317, or off.")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host in LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_doors(given: dict[str, str]) -> dict[str, Address]:
    """Return the addresses of the doors that are on. Raises UsageError when one is no address."""
    return {name: Address.parse(text) for name, text in given.items() if text != OFF}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One collector."""

    data_dir: Path
    store: str  # a folder, or a URL of object storage
    doors: dict[str, Address]  # by name, those that are on
    workers: int = 1
    engine: Engine = Engine.ASGI
    insecure: bool = False
    telemetry: Address | None = None  # an OTLP/gRPC collector for our own metrics
    settings: Path | None = None  # TOML: what is redacted and limited
    log_format: str = field(default="text")

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MAX_WORKERS:
            raise UsageError(f"{self.workers} workers; give 1 to {MAX_WORKERS}, at most one a core.")
        if not any(name in self.doors for name in TAKING):
            raise UsageError("every door is off: there is nothing to collect.")
        for name, address in self.doors.items():
            if not address.is_loopback and not self.insecure:
                raise StartError(
                    f"{flag(name)} {address} is reached from other machines, and there is no encryption and no "
                    "password here. Listen on 127.0.0.1, or say --insecure if the network is yours alone."
                )
