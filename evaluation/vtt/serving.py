"""`serve`: show a kit to raters, and keep their answers."""

import argparse
import math
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from evaluation.vtt.store import Store
from evaluation.vtt.study import PUBLIC, RESULTS, Study, read_study

EPILOG = """\
example:
  python -m evaluation.vtt serve study
  python -m evaluation.vtt serve study --port 8100 --prefix /study --behind-proxy

It prints two addresses. The first is for the raters: send it to them as it is, or with ?participant=NAME behind it (a
crowd's PROLIFIC_PID and workerId are understood, too); one participant sees no picture twice. The second is for the
study's owner alone: it shows how far the study is, and holds the answers. An answer is on the disk before a rater's
page goes on, so the server may be stopped and started again at any time. To be reached from elsewhere, and by https, it
takes a proxy before it, such as Caddy or nginx.
"""


def add_commands(commands: Any) -> None:
    """Add `serve` to the command line."""
    parser = commands.add_parser(
        "serve",
        help="show a kit to raters by HTTP, and keep their answers",
        description="Show a kit to raters by HTTP, hand out its blocks, and keep the answers in one SQLite file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("kit", type=Path, metavar="KIT", help="folder that build or preference has made")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at, 0 for a free one (default: 8000)")
    parser.add_argument("--prefix", default="", metavar="/PATH", help="path before all pages, such as /study")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="where answers are kept (default: results.sqlite in the kit)"
    )
    parser.add_argument(
        "--idle-minutes",
        type=float,
        default=30,
        metavar="N",
        help="give a block to somebody else after so long without an answer (default: 30)",
    )
    parser.add_argument(
        "--raters-per-address",
        type=int,
        default=20,
        metavar="N",
        help="new raters from one address, at once and again in every hour (default: 20)",
    )
    parser.add_argument(
        "--behind-proxy",
        action="store_true",
        help="take raters' addresses from the proxy's X-Forwarded-For; only if nobody can reach the server without it",
    )


def run(arguments: argparse.Namespace) -> None:
    """Serve until it is stopped.

    Raises:
        OSError: If the kit or the results cannot be read, or the results are lost, or the address is taken.
        ValueError: If one of them is damaged, or an option is wrong.
    """
    try:
        from evaluation.vtt.application import application
        from evaluation.vtt.http_server import StudyServer, configured
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise ValueError('serving takes Starlette and uvicorn: pip install -e ".[web]"') from error
    if not 0 < arguments.idle_minutes < math.inf or arguments.raters_per_address <= 0:
        raise ValueError("--idle-minutes and --raters-per-address are numbers above 0")
    prefix = prefix_of(arguments.prefix)
    study = read_study(arguments.kit)
    public = arguments.kit / PUBLIC
    check_pictures(study, public)
    results = arguments.results or arguments.kit / RESULTS
    with closing(Store(results, study, 60 * arguments.idle_minutes)) as store:
        app = application(study, store, public, prefix, arguments.raters_per_address, arguments.behind_proxy)
        with listen(arguments.host, arguments.port) as listener:
            host, port = listener.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}{prefix}/"
            print(f"raters: {address}\nowner:  {address}owner/{store.owner}\nCtrl-C stops it", flush=True)
            StudyServer(configured(app), store).run(sockets=[listener])
        if store.lost:
            raise OSError(
                f"{results} was deleted, moved or replaced, so no more answers were taken; those that it held are in "
                f"{store.rescue()}: go on with --results and that file"
            )


def prefix_of(text: str) -> str:
    """A path as it stands before others: '' or '/study'.

    Raises:
        ValueError: If it is no plain path.
    """
    path = text.strip("/")
    if not re.fullmatch(r"[\w.~/-]*", path, re.ASCII):
        raise ValueError(f"--prefix {text} is no plain path; give one such as /study")
    return path and f"/{path}"


def check_pictures(study: Study, public: Path) -> None:
    """Raise FileNotFoundError if a kit lacks its page or a picture."""
    if not (public / "index.html").is_file():
        raise FileNotFoundError(f"{public} holds no index.html; build the kit anew")
    there = {path.name for path in (public / "pictures").iterdir()}
    shown = {f"{name}.png" for trial in study.trials.values() for name in (*trial.shown, *trial.context)}
    if missing := sorted(shown - there):
        raise FileNotFoundError(f"{public / 'pictures'} lacks {len(missing)} pictures, such as {missing[0]}")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: If it cannot.
        ValueError: If there is no such port.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OverflowError:
        raise ValueError(f"--port {port} is none; give one up to 65535") from None
    except OSError as error:
        raise OSError(f"nobody can listen at {host}:{port}: {error.strerror}; give another --host or --port") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each reply's body waits 40 ms for its head
    return listener
