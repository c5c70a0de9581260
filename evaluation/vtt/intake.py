"""What raters' pages may send: JSON of exactly the right names, types and ranges, and no more of it than it takes."""

import asyncio
import json
import re
from collections.abc import Collection
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

from evaluation.vtt.answers import Answer
from evaluation.vtt.study import Study

BYTES, SECONDS = 8192, 10
"""Of a request's body: its length, and how long it may take to come."""
ANSWER = {"block", "trial", "choice", "response_ms", "shown_ms", "dropped", "at"}
A_YEAR_MS = 366 * 86_400_000
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
PARTICIPANT_CHARACTERS = 100


async def read_body(request: Request, names: Collection[str]) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        HTTPException: 413, 408 or 400 if there is none; 422 if it has not exactly these names.
    """
    text = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                text += part
                if len(text) > BYTES:
                    raise HTTPException(413, f"a body has at most {BYTES} bytes")
    except TimeoutError:
        raise HTTPException(408, f"a body comes within {SECONDS} seconds") from None
    try:
        body = json.loads(text, parse_constant=refuse_constant)
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair, which JSON can spell, is no text
    except (ValueError, RecursionError):
        raise HTTPException(400, "a body is JSON") from None
    require(isinstance(body, dict) and body.keys() == set(names), f"a body has {', '.join(sorted(names))} and no more")
    return dict(body)


def refuse_constant(name: str) -> NoReturn:
    """NaN and the infinities are no JSON."""
    raise ValueError(f"{name} is no JSON")


def require(holds: bool, sentence: str) -> None:
    """Refuse, with 422, what does not hold."""
    if not holds:
        raise HTTPException(422, sentence)


def text_of(body: dict[str, Any], name: str) -> str:
    """A text in a body."""
    require(isinstance(body[name], str), f"{name} is text")
    return str(body[name])


def participant_in(body: dict[str, Any]) -> str:
    """What a crowd's site calls a rater: what can be printed of it, and no more than it takes."""
    printable = (character for character in text_of(body, "participant") if character.isprintable())
    return "".join(printable)[:PARTICIPANT_CHARACTERS]


def answer_in(body: dict[str, Any], study: Study, rater: str) -> Answer:
    """A rater's answer in a body.

    Raises:
        HTTPException: 404 if it is to no trial of the study; 422 if it is no answer to that trial.
    """
    block, trial, at = (text_of(body, name) for name in ("block", "trial", "at"))
    if trial not in study.trials:
        raise HTTPException(404, "this trial is not in the block that you have open")
    choices = range(len(study.trials[trial].shown))
    choice, dropped, response, shown = (body[name] for name in ("choice", "dropped", "response_ms", "shown_ms"))
    require(choice is None or (type(choice) is int and choice in choices), "choice is one of the pictures, or null")
    require(dropped in (None, "timing", "hidden"), "dropped is timing, hidden or null")
    require((choice is None) == (dropped is not None), "an answer has a choice, or else a reason why it was dropped")
    require(is_duration(response), "response_ms is milliseconds, of a year at most")
    require(isinstance(shown, list) and len(shown) <= len(choices), "shown_ms is a list, of each picture at most one")
    require(all(map(is_duration, shown)), "shown_ms is milliseconds, of a year at most")
    require(MOMENT.fullmatch(at) is not None, "at is a moment in ISO 8601, with its zone")
    return Answer(study.name, rater, block, trial, choice, float(response), tuple(map(float, shown)), dropped, at)


def is_duration(value: object) -> bool:
    """Whether it is a finite number of milliseconds, of a year at most."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= A_YEAR_MS
