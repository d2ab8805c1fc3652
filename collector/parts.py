"""The parts of a collector as processes: spawned by module name, never forked, dying with their parent."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

DRAIN_TRIES = 3  # of a part that dies while it should drain
RESTART_SECONDS = 0.5  # between two deaths of one part: a part that cannot live should not take the machine


@dataclass
class Part:
    """One process of the collector, started again when it dies."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    sockets: tuple[int, ...] = ()  # descriptors it inherits
    on_death: Callable[[int], None] = lambda _process: None  # told the number of a process that has ended
    deaths: int = 0
    _served: bool = False  # it has been ready once: from then on a death is mended
    _ready: asyncio.Event = field(default_factory=asyncio.Event)  # the process there is now
    _go: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[int] | None = None

    def start(self) -> None:
        """Start it, and keep it running until `stop`."""
        self._task = asyncio.create_task(self._keep())

    def go(self) -> None:
        """Let it begin, now and whenever it is started again; a part that waits for nothing need not be told."""
        self._go.set()

    @property
    def is_ready(self) -> bool:
        """Whether the process there is now has said that it is ready."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Return once it has said that it is ready. Raises StartFailed when it ends before."""
        assert self._task is not None
        waiting = asyncio.create_task(self._ready.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.is_set():
            waiting.cancel()
            raise StartFailed(self.name, await self._task)

    async def stop(self) -> int:
        """Have it drain and end; return its exit status.

        A part that dies while it drains, or is dead just then, is started again to drain.
        """
        self._stopping.set()
        self._go.set()  # one that still waits for the word would wait for ever
        assert self._task is not None
        return await self._task

    async def _keep(self) -> int:
        """Run it until it ends as asked; return its last exit status."""
        tries = DRAIN_TRIES
        while True:
            status = await self._once()
            tries -= self._stopping.is_set()
            if not self._served or (self._stopping.is_set() and (status == 0 or tries == 0)):
                return status
            self.deaths += 1
            print(f"{self.name} ended with status {status}; started again", file=sys.stderr, flush=True)
            await asyncio.sleep(RESTART_SECONDS)

    async def _once(self) -> int:
        """Run one process until it ends."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "collector",
            *self.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self.environment},
            pass_fds=self.sockets,
            start_new_session=True,  # Ctrl-C is for the supervisor, which stops parts in order
        )
        begun = [asyncio.create_task(self._say_go(process)), asyncio.create_task(self._end_when_asked(process))]
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if line.strip() == b"ready":
                self._ready.set()
                self._served = True
        status = await process.wait()
        self.on_death(process.pid)
        for task in begun:
            task.cancel()
        self._ready.clear()
        return status

    async def _say_go(self, process: asyncio.subprocess.Process) -> None:
        """Tell a process that it may begin, as soon as that is so."""
        await self._go.wait()
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        with suppress(ConnectionError):  # it has died meanwhile
            await process.stdin.drain()

    async def _end_when_asked(self, process: asyncio.subprocess.Process) -> None:
        """Ask a process to end, not before it is ready: until then a signal would kill it undrained."""
        await self._stopping.wait()
        await self._ready.wait()
        process.terminate()


class StartFailed(Exception):
    """A part ended before it was ready; it has said why itself."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} ended with status {status} before it was ready")
        self.status = status
