"""uvicorn, so that neither idle connections nor a lost file of results can stop a study without a word.

uvicorn limits how long a connection may rest between two requests, and how many it replies to at once. It limits
neither how long the head of a request may take, nor how long a client may take its reply, nor how many connections are
held. A connection that is held for nothing costs a file; when a process has no more of those it serves nobody.
"""

import asyncio
import resource
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from evaluation.vtt.store import Store

SECONDS = 60
"""From one request's head to the next, and from a connection's opening to its first: time for request and reply."""
BACKLOG = 128
"""Connections that wait to be accepted; asyncio accepts as many before it looks at the first."""
FILES = 4096
"""Files that the process may open, if the system lets it."""
RESERVED = 4 * BACKLOG + 64
"""Of these, kept for connections that were accepted and not looked at yet, for the database and for pictures."""


def most_connections() -> int:
    """How many connections can be held; lets the process open as many files as it may, up to `FILES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - RESERVED, BACKLOG)


class PatientProtocol(H11Protocol):
    """A connection, which is cut when no request has come for `SECONDS`.

    When there are more than `most`, the one that has asked for nothing for longest is cut first.

    Attributes:
        most: Connections that are held at once.
        timers: What cuts each connection, in the order of their last requests.
    """

    most: ClassVar[int] = FILES - RESERVED
    timers: ClassVar[dict[H11Protocol, asyncio.TimerHandle]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is there."""
        super().connection_made(transport)
        self.renew()
        if len(self.timers) > self.most:
            oldest = next(iter(self.timers))
            self.timers.pop(oldest).cancel()
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if timer := self.timers.pop(self, None):
            timer.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Bytes have come, perhaps the last of a request's head."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self in self.timers:
            self.renew()

    def renew(self) -> None:
        """Give the connection its time anew."""
        if timer := self.timers.pop(self, None):
            timer.cancel()
        self.timers[self] = self.loop.call_later(SECONDS, self.transport.abort)


class StudyServer(uvicorn.Server):
    """uvicorn's server, which stops when the file of results is lost.

    Args:
        config: uvicorn's own.
        store: Where the answers go.
    """

    def __init__(self, config: uvicorn.Config, store: Store) -> None:
        super().__init__(config)
        self.store = store

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop; asked ten times a second."""
        return await super().on_tick(counter) or self.store.lost


def configured(app: Any) -> uvicorn.Config:
    """uvicorn's options for a study."""
    PatientProtocol.most = most_connections()
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        backlog=BACKLOG,
        log_level="error",
        access_log=False,  # it would hold the owner's address
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=SECONDS // 2,
        timeout_graceful_shutdown=5,
    )
