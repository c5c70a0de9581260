"""What the server of a study answers: the page, its pictures, the raters' requests, and the owner's pages.

Of a kit's public folder the page and pictures by their exact names are handed out, and nothing else of the kit is.
"""

import csv
import io
import re
import secrets
import sqlite3
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from evaluation.report.template import template_of
from evaluation.vtt.answers import COLUMNS, Answer, row_of
from evaluation.vtt.gate import Allowance, Gate, policy_of, refused
from evaluation.vtt.intake import ANSWER, answer_in, participant_in, read_body, text_of
from evaluation.vtt.store import ConflictError, LostError, NotOpenError, Store
from evaluation.vtt.study import Study

AT_ONCE, PER_SECOND = 200, 10
"""Requests of one rater."""
PICTURE = re.compile(r"[0-9a-f]{32}\.png")
HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
SERVED = "<script>window.server = true</script>"


def application(
    study: Study, store: Store, public: Path, prefix: str, raters_per_address: float, behind_proxy: bool
) -> ASGIApp:
    """The whole of it.

    Args:
        study: What is rated.
        store: Where the answers go.
        public: The kit's public folder.
        prefix: A path before all others, '' for none; for proxies that take it away paths without it are answered, too.
        raters_per_address: New raters from one address, at once and again in every hour.
        behind_proxy: Believe the last address of X-Forwarded-For, which the proxy itself has added.

    Raises:
        OSError: If the kit has no page.
        ValueError: If its page is none.
    """
    routes = Service(study, store, public, raters_per_address).routes()
    if prefix:
        routes = [Route(prefix, to_folder), Mount(prefix, routes=routes), *routes]
    errors = (HTTPException, NotOpenError, ConflictError, LostError, sqlite3.Error, ClientDisconnect, Exception)
    handlers: dict[Any, Any] = dict.fromkeys(errors, refuse)
    inner = Starlette(routes=routes, exception_handlers=handlers)
    inner.router.redirect_slashes = False  # it believes the request's Host
    return Gate(inner, behind_proxy)


async def refuse(_: Request, error: Exception) -> Response:
    """Whatever goes wrong, as one sentence and never a trace."""
    match error:
        case HTTPException():
            return refused(error)
        case NotOpenError():
            return refused(HTTPException(404, str(error)))
        case ConflictError():
            return refused(HTTPException(409, str(error)))
        case sqlite3.Error() | LostError():  # such as a full disk
            print(f"answers cannot be stored: {error}", file=sys.stderr)
            return refused(HTTPException(503, "this cannot be stored now; try again later", {"Retry-After": "5"}))
        case _:
            return refused(HTTPException(500, "this went wrong; try again later"))


async def to_folder(request: Request) -> Response:
    """To the same address with a slash behind it, without which the page's relative addresses would lead elsewhere."""
    return RedirectResponse(request.scope["path"].rpartition("/")[2] + "/")


class Service:
    """The replies; what a study, its store and its public folder are, `application` tells."""

    def __init__(self, study: Study, store: Store, public: Path, raters_per_address: float) -> None:
        self.study, self.store, self.pictures = study, store, public / "pictures"
        self.page = served(public / "index.html")
        self.policy = policy_of(self.page)
        self.new_raters = Allowance(raters_per_address, raters_per_address / 3600)
        self.requests = Allowance(AT_ONCE, PER_SECOND)
        self.template = template_of("evaluation.vtt", "progress.html")

    def routes(self) -> list[BaseRoute]:
        """What can be asked for."""
        return [
            Route("/", self.index),
            Route("/pictures/{name}", self.picture),
            Route("/api/raters", self.new_rater, methods=["POST"]),
            Route("/api/block", self.block),
            Route("/api/answers", self.answer, methods=["POST"]),
            Route("/api/block/end", self.end, methods=["POST"]),
            Route("/owner/{token}", self.progress),
            Route("/owner/{token}/answers.csv", self.table),
        ]

    async def index(self, request: Request) -> Response:
        """The raters' page."""
        return HTMLResponse(self.page, headers={"Content-Security-Policy": self.policy})

    async def picture(self, request: Request) -> Response:
        """A picture; no header tells of its file's times."""
        name = request.path_params["name"]
        try:
            if not PICTURE.fullmatch(name):
                raise FileNotFoundError
            content = await run_in_threadpool((self.pictures / name).read_bytes)
        except FileNotFoundError:
            raise HTTPException(404, "there is no such picture") from None
        forever = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(content, media_type="image/png", headers=forever)

    async def new_rater(self, request: Request) -> Response:
        """A token for a new rater."""
        participant = participant_in(await read_body(request, {"participant"}))
        self.new_raters.take(request.state.address)
        return JSONResponse({"rater": await run_in_threadpool(self.store.new_rater, participant)})

    async def rater_of(self, request: Request) -> str:
        """The public name of the rater who asks."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        rater = await run_in_threadpool(self.store.rater_of, token) if scheme.lower() == "bearer" else None
        if rater is None:
            raise HTTPException(401, "this rater is not known here", {"WWW-Authenticate": "Bearer"})
        self.requests.take(rater)
        return rater

    async def block(self, request: Request) -> Response:
        """The block that a rater has open, or a new one, or nothing if none is left."""
        found = await run_in_threadpool(self.store.block_of, await self.rater_of(request))
        if found is None:
            return Response(status_code=204)
        block, answered = found
        return JSONResponse({"block": self.study.public_block(block), "answered": answered})

    async def answer(self, request: Request) -> Response:
        """Store an answer; the reply says that it is on the disk."""
        rater = await self.rater_of(request)
        answer = answer_in(await read_body(request, ANSWER), self.study, rater)
        await run_in_threadpool(self.store.keep, answer)
        return JSONResponse({"stored": True})

    async def end(self, request: Request) -> Response:
        """Close a block; the reply says how many more there are for this rater."""
        rater = await self.rater_of(request)
        block = text_of(await read_body(request, {"block"}), "block")
        return JSONResponse({"left": await run_in_threadpool(self.store.end, rater, block)})

    async def progress(self, request: Request) -> Response:
        """How far the study is, for its owner."""
        self.require_owner(request)
        progress = await run_in_threadpool(self.store.progress)
        page = self.template.render(progress=progress, study=self.study, token=self.store.owner)
        return HTMLResponse(page, headers={"Content-Security-Policy": policy_of(page)})

    async def table(self, request: Request) -> Response:
        """The table of answers, for the study's owner."""
        self.require_owner(request)
        answers = await run_in_threadpool(self.store.answers, request.query_params.get("abandoned") == "1")
        download = {"Content-Disposition": 'attachment; filename="answers.csv"'}
        return Response(await run_in_threadpool(table_of, answers), media_type="text/csv", headers=download)

    def require_owner(self, request: Request) -> None:
        """To everybody else the owner's pages are not there."""
        if not secrets.compare_digest(request.path_params["token"].encode(), self.store.owner.encode()):
            raise HTTPException(404)


def served(path: Path) -> str:
    """A kit's page, told that a server has sent it.

    Raises:
        OSError: If it is not there.
        ValueError: If it is no page.
    """
    page, heads = HEAD.subn(lambda head: head[0] + SERVED, path.read_text(encoding="utf-8"), count=1)
    if not heads:
        raise ValueError(f"{path} is no page of a study; build the kit anew")
    return page


def table_of(answers: Collection[Answer]) -> str:
    """Answers as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(map(row_of, answers))
    return text.getvalue()
