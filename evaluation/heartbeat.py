"""A sign of life that other machines can see: a file in a run's directory, touched while the run is at work."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

HEARTBEAT = ".heartbeat"
"""The file's name."""
INTERVAL = 10.0
"""Seconds between heartbeats."""


class Heartbeat:
    """Touches a directory's heartbeat in a thread of its own, as a context."""

    def __init__(self, directory: Path, interval: float = INTERVAL) -> None:
        self.file, self.interval, self.ended = directory / HEARTBEAT, interval, threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)

    def beat(self) -> None:
        """Touch the file until the context ends; a disk that does not answer for once is no reason to end a run."""
        while True:
            with suppress(OSError):
                self.file.touch()
            if self.ended.wait(self.interval):
                return

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()


def seconds_since_heartbeat(directory: Path) -> float | None:
    """How long a directory's run has given no sign of life; None if it never has, as runs of older versions."""
    try:
        with (directory / HEARTBEAT).open("rb") as file:  # a shared disk tells a file's true time when it is opened
            return time.time() - os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
