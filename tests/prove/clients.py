"""SDKs of three languages, each by every protocol it speaks, plain and packed: every field of every span."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.clients.spans import difference, stored
from tests.prove.outside import Lacking
from tests.prove.rows import Row
from tests.running import eventually, up
from tracelens.ports import flag
from tracelens.store import Store

CLIENTS = Path(__file__).parents[1] / "clients"
DOORS = {"grpc": "otlp_grpc", "http": "otlp_http", "json": "otlp_http"}
PROTOCOLS = {"python": ("grpc", "http"), "node": ("grpc", "http", "json"), "go": ("grpc", "http")}
BUILD_SECONDS = 600


def every_field(folder: Path, spans: int, *, languages: Iterable[str] = tuple(PROTOCOLS)) -> Row:
    """Send `spans` spans by each client, and compare what it says it sent with the store."""
    broken, told = [], []
    commands = {language: command(language, folder) for language in languages}
    for engine in ("asgi", "grpcio"):
        ways = [
            (language, protocol, packed)
            for language in languages
            for protocol in PROTOCOLS[language]
            for packed in ("none", "gzip")
            if engine == "asgi" or protocol == "grpc"
        ]
        for language, protocol, packed in ways:
            way = f"{language} {protocol} {packed} {engine}"
            options = ["--grpc-engine", engine, flag("otlp_http"), "127.0.0.1:0"]
            with up(folder / way.replace(" ", "-"), *options) as running:
                words = [*commands[language], running.addresses[DOORS[protocol]], protocol, packed, str(spans)]
                done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
                sent = [json.loads(line) for line in done.stdout.splitlines()]
                if done.returncode or len(sent) != spans:
                    broken.append(f"{way}: ended with {done.returncode} and {len(sent)} spans: {done.stderr[-500:]}")
                    continue
                store = running.data_dir / "store"
                eventually(lambda: Store.open(store).span_count(), lambda found: found >= spans)  # noqa: B023  # called at once
                found = difference(sent, stored(store))
            broken += [f"{way}: {len(found)} differences, the first: {found[0]}"] if found else []
            told.append(way)
    return Row(
        promise="what a client sent is what is stored",
        anchor="design: receivers",
        tried=f"{spans:,} spans each by SDKs for {', '.join(languages)}, every field",
        times=len(told),
        broken=tuple(broken),
        told=", ".join(told),
    )


def python_only(folder: Path, spans: int) -> Row:
    """Send by the SDK that every test run has."""
    return every_field(folder, spans, languages=("python",))


def command(language: str, folder: Path) -> list[str]:
    """Return how a client is called; builds it first. Raises Lacking without the language."""
    if language == "python":
        return [sys.executable, "-m", "tests.clients.python_client"]
    needed = {"node": "npm", "go": "go"}[language]
    if shutil.which(needed) is None:
        raise Lacking(f"{needed} is not here: install {language}, or name the other proofs only")
    work = folder / language
    shutil.copytree(CLIENTS / language, work, ignore=shutil.ignore_patterns("node_modules"))
    if language == "node":
        build, run = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["node", str(work / "client.mjs")]
    else:
        build, run = ["go", "build", "-o", "client", "."], [str(work / "client")]
    done = subprocess.run(build, cwd=work, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode:
        raise Lacking(f"the client for {language} cannot be built: {(done.stdout + done.stderr)[-500:]}")
    return run
