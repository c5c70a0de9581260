"""Fetching a model's file: from one address after another, checked, and whole or not there at all."""

from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from filelock import FileLock
from pooch import HTTPDownloader
from requests import HTTPError, RequestException, Timeout
from requests.exceptions import ChunkedEncodingError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lightning_modules.pretrained.hashes import difference
from lightning_modules.pretrained.table import Model

TIMEOUT = 30
"""Seconds without a byte after which a server is given up."""
CHUNK = 2**16
"""Bytes."""


def fetch(model: Model, file: Path) -> None:
    """Fetch a model into a file, which appears once it is whole and checked. Others that want it meanwhile wait.

    Raises:
        OSError: If no address gives it, or the folder cannot be written to.
    """
    unfinished = file.with_name(f".{file.name}.part")
    reasons: list[str] = []
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            if file.is_file():  # another process was faster, and checked it
                return
            for address in model.addresses:
                reason = download(model, address, unfinished)
                if not reason:
                    unfinished.replace(file)
                    return
                reasons.append(f"{urlsplit(address).netloc}: {reason}")
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            f"{file} cannot be written: {error.strerror or error}; mend that, or set CHROMALAB_CACHE to another folder"
        ) from error
    raise OSError(
        f"{model.file} cannot be fetched ({'; '.join(dict.fromkeys(reasons))}); fetch it elsewhere from "
        f"{model.addresses[0]}, SHA-256 {model.known_sha256}, and put it at {file}"
    )


def download(model: Model, address: str, target: Path) -> str:
    """Write what an address gives into a file, over what a killed process left there.

    Returns:
        Why it is not the model, in words; empty if it is.

    Raises:
        OSError: If the file cannot be written.
    """
    try:
        with Bar(model) as bar:
            HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT)(address, str(target), None)
    except HTTPError as error:
        return str(error).partition(" for url")[0]
    except ChunkedEncodingError:
        return "cut short"
    except Timeout:
        return f"no answer within {TIMEOUT} seconds"
    except RequestException:
        return "the connection failed"
    except OverflowError as error:
        return str(error)
    return difference(target, model)


class Bar:
    """A progress bar as pooch drives one, drawn from the first byte on; it stops a reply far longer than the model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.total = 0  # pooch sets it to the announced length, or 0
        self.done = 0
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self.progress = Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True))
        self.task = self.progress.add_task(f"fetching {model.name}", total=model.size)

    def update(self, count: int) -> None:
        """Note that so many more bytes are there.

        Raises:
            OverflowError: If they are too many.
        """
        self.done += count
        if self.done > 1.5 * self.model.size + 2**20:
            raise OverflowError(f"more than the {self.model.size:,} bytes that were expected")
        self.progress.start()
        self.progress.update(self.task, completed=self.done, total=self.total or self.model.size)

    def reset(self) -> None:
        """Count anew."""
        self.done = 0

    def close(self) -> None:
        """Do nothing: the context ends the drawing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress.live.is_started:  # else it would print an empty line
            self.progress.stop()
