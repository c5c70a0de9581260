"""What stands around every reply of a study's server: how often an address may ask, and what a browser may do."""

import hashlib
import math
import sys
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from html.parser import HTMLParser
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KNOWN = 10_000
"""Names whose requests are counted; who has not asked for longest is forgotten first."""
AT_ONCE, PER_SECOND = 5000, 200
"""Of one address: a room full of raters behind it fetches some hundred pictures each when a block starts."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of a reply that sets none of its own."""


class Allowance:
    """So many requests at once, and so many a second after that, for each name (a token bucket).

    Args:
        at_once: How many.
        per_second: How fast they come back.
        clock: In seconds.
    """

    def __init__(self, at_once: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.at_once, self.per_second, self.clock = at_once, per_second, clock
        self.left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Count a request.

        Raises:
            HTTPException: 429, if there were too many; it says when to try again.
        """
        now = self.clock()
        left, since = self.left.pop(name, (self.at_once, now))
        left = min(self.at_once, left + (now - since) * self.per_second)
        self.left[name] = (left - 1 if left >= 1 else left, now)
        if len(self.left) > KNOWN:
            self.left.popitem(last=False)
        if left < 1:
            after = str(math.ceil((1 - left) / self.per_second))
            raise HTTPException(429, f"too many requests; try again in {after} seconds", {"Retry-After": after})


class Gate:
    """Lets no address ask too often, and gives every reply the headers that keep browsers strict.

    Args:
        inner: What replies; it finds the address in `request.state.address`.
        behind_proxy: Believe the last address of X-Forwarded-For, which the proxy itself has added.
    """

    def __init__(self, inner: ASGIApp, behind_proxy: bool) -> None:
        self.inner, self.behind_proxy, self.warned = inner, behind_proxy, False
        self.requests = Allowance(AT_ONCE, PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reply to a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        address = self.address(scope)
        scope["state"] = {"address": address}
        try:
            self.requests.take(address)
        except HTTPException as error:
            await refused(error)(scope, receive, send_with_headers)
        else:
            await self.inner(scope, receive, send_with_headers)

    def address(self, scope: Scope) -> str:
        """Who asks: an IPv4 address, or the /64 network that one line has of IPv6."""
        host = scope["client"][0] if scope["client"] else ""
        forwarded = Headers(scope=scope).getlist("x-forwarded-for")
        if forwarded and self.behind_proxy:
            host = forwarded[-1].rpartition(",")[2].strip()
        elif forwarded and not self.warned:
            self.warned = True
            print(
                "a proxy seems to stand before this server: raters' own addresses need --behind-proxy", file=sys.stderr
            )
        try:
            address = ip_address(host)
        except ValueError:
            return "unknown"
        if isinstance(address, IPv6Address):
            return str(address.ipv4_mapped or ip_network((int(address), 64), strict=False))
        return str(address)


def refused(error: HTTPException) -> Response:
    """An error as one sentence of JSON."""
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def policy_of(page: str) -> str:
    """A Content-Security-Policy under which a page runs its own inline scripts and styles, and asks nobody else.

    Args:
        page: Its HTML, with lines ended by LF, as a browser reads it before it takes hashes.
    """
    inline = Inline()
    inline.feed(page)
    scripts, styles = (" ".join(map(source_of, inline.found[tag])) or "'none'" for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def source_of(text: str) -> str:
    """What a policy calls a script or a style of this text."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class Inline(HTMLParser):
    """Collects the text of a page's inline scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {"script": [], "style": []}
        self.inside: str | None = None

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """An element begins."""
        if tag in self.found:
            self.inside = tag
            self.found[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        self.inside = None

    def handle_data(self, data: str) -> None:
        """Its text, perhaps a part of it."""
        if self.inside:
            self.found[self.inside][-1] += data
