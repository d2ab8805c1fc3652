"""A disk of our own: an ext4 file system in a file, that can be cut off as by a power failure."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType

from tests.prove.outside import Lacking
from tests.running import eventually

# EXT4_IOC_SHUTDOWN of Linux' fs/ext4/ext4.h, the same as FS_IOC_GOINGDOWN; 2 leaves the journal as it is on disk.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


class Disk:
    """A mounted file system; its `path` is the mount point."""

    def __init__(self, folder: Path, name: str, mib: int) -> None:
        """Make and mount it. Raises Lacking where that is not allowed."""
        self._image, self.path = folder / f"{name}.img", folder / name
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(mib << 20)
        self._run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self.mount()

    def __enter__(self) -> Disk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unmount()

    def mount(self) -> None:
        """Mount it; ext4 replays its journal."""
        self._run("mount", "-o", "loop", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Unmount it as soon as nobody has a file open there."""
        command = ["umount", str(self.path)]
        eventually(lambda: subprocess.run(command, capture_output=True, check=False).returncode, lambda code: code == 0)

    def remount(self, option: str) -> None:
        """Mount it with ro or rw, as soon as nobody is in the middle of writing."""
        command = ["mount", "-o", f"remount,{option}", str(self.path)]
        eventually(lambda: subprocess.run(command, capture_output=True, check=False).returncode, lambda code: code == 0)

    def cut_power(self) -> None:
        """From now on nothing reaches the disk: it has what was synced, and what happened to be written."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    @staticmethod
    def _run(*command: str) -> None:
        if shutil.which(command[0]) is None:
            raise Lacking(f"{command[0]} is not here. As root: apt-get update && apt-get install --yes e2fsprogs mount")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Lacking(
                f"{' '.join(command)}: {done.stderr.strip()}. This wants root and loop devices "
                "(in a container: --privileged)."
            )
