"""What the server of studies bears: raters at once, each of whom answers so long after the reply to the last answer.

python benchmarks/vtt_server.py
python benchmarks/vtt_server.py --raters 50 --pause 1 --folder /tmp
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.record import hardware
from evaluation.vtt.study import Block, Study, Trial, write_study


def write_kit(kit: Path, raters: int, trials: int) -> None:
    """A kit with a block for each rater; its pictures stand for real ones."""
    names = [f"{number:032x}" for number in range(raters * trials)]
    blocks = {f"{i:032x}": Block(0, tuple(names[i * trials : (i + 1) * trials])) for i in range(raters)}
    shown = ("0" * 32, "1" * 32)
    study = {name: Trial("study", name, shown, ("truth", "Method#0")) for name in names}
    (kit / "public" / "pictures").mkdir(parents=True)
    (kit / "public" / "index.html").write_text("<!doctype html><head></head>")
    for name in shown:
        (kit / "public" / "pictures" / f"{name}.png").write_bytes(b"\x89PNG")
    write_study(Study("study", "turing", 0, "Which is real?", 1000, raters, {"Method": 1}, {}, study, blocks), kit)


def ask(
    connection: http.client.HTTPConnection, headers: dict[str, str], method: str, path: str, body: Any = None
) -> Any:
    """The JSON of a reply."""
    connection.request(method, path, body and json.dumps(body), headers)
    reply = connection.getresponse()
    text = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{method} {path}: {reply.status} {text.decode()}")
    return json.loads(text)


def sit(port: int, number: int, pause: float) -> list[tuple[float, float]]:
    """One rater's block: when each answer was sent and when it was acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250}"}
    headers["Authorization"] = f"Bearer {ask(connection, headers, 'POST', '/api/raters', {'participant': ''})['rater']}"
    block = ask(connection, headers, "GET", "/api/block")["block"]
    answer = {"block": block["block"], "choice": 0, "response_ms": 400.5, "shown_ms": [1000.1, 999.9], "dropped": None}
    times = []
    time.sleep(pause * number / 50)
    for trial in block["trials"]:
        time.sleep(pause)
        sent = time.perf_counter()
        body = answer | {"trial": trial["trial"], "at": "2026-01-01T00:00:00Z"}
        ask(connection, headers, "POST", "/api/answers", body)
        times.append((sent, time.perf_counter()))
    ask(connection, headers, "POST", "/api/block/end", {"block": block["block"]})
    return times


def measure(folder: Path, raters: int, trials: int, pause: float) -> tuple[float, np.ndarray]:
    """Answers a second, and milliseconds until each was acknowledged."""
    write_kit(folder / "kit", raters, trials)
    command = [sys.executable, "-m", "evaluation.vtt", "serve", str(folder / "kit"), "--port", "0", "--behind-proxy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        found = re.search(r":(\d+)/", server.stdout.readline())
        if found is None:
            raise RuntimeError("the server did not start")
        with ThreadPoolExecutor(raters) as threads:
            times = np.array(
                [each for rater in threads.map(lambda i: sit(int(found[1]), i, pause), range(raters)) for each in rater]
            )
        server.kill()
    return len(times) / float(times.max() - times.min()), 1000 * (times[:, 1] - times[:, 0])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, nargs="+", default=[1, 10, 50], help="at once (default: 1 10 50)")
    parser.add_argument("--trials", type=int, default=58, help="of each rater (default: 58)")
    parser.add_argument("--pause", type=float, default=0, help="seconds before each answer (default: 0)")
    parser.add_argument("--folder", type=Path, help="on whose disk the answers are kept (default: the temporary one)")
    arguments = parser.parse_args()
    what = f"{arguments.trials} answers of each rater, {arguments.pause:g} s apart"
    title = f"{what}, on {hardware()['processor']}"
    table = Table(title=title, title_justify="left", min_width=len(title))
    for name in ("raters", "answers/s", "median ms", "99% ms", "slowest ms"):
        table.add_column(name, justify="right")
    for raters in arguments.raters:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rate, waits = measure(Path(folder), raters, arguments.trials, arguments.pause)
        figures = [*np.percentile(waits, (50, 99)), waits.max()]
        table.add_row(str(raters), f"{rate:.0f}", *(f"{each:.1f}" for each in figures))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
