"""Who was given which block, and what they answered: one SQLite file.

What is said to be stored is on the disk: a method that stores something returns after its commit. The tables' own
constraints hold what a study rests on: nobody has two blocks at once, no block is done twice, and no trial is answered
twice in one sitting.
"""

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from evaluation.vtt.answers import Answer, stored_answers
from evaluation.vtt.study import TRUTH, Study

T = TypeVar("T")
VERSION = 1
TABLES = """
CREATE TABLE study (name TEXT NOT NULL, owner TEXT NOT NULL);
CREATE TABLE blocks (block TEXT PRIMARY KEY, picture_group INTEGER NOT NULL, trials INTEGER NOT NULL);
CREATE TABLE raters (
    rater TEXT PRIMARY KEY, token_sha256 TEXT NOT NULL UNIQUE, participant TEXT NOT NULL, since REAL NOT NULL
);
CREATE TABLE sittings (
    sitting INTEGER PRIMARY KEY,
    block TEXT NOT NULL REFERENCES blocks,
    rater TEXT NOT NULL REFERENCES raters,
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'abandoned')),
    active REAL NOT NULL,
    UNIQUE (block, rater)
);
CREATE UNIQUE INDEX a_block_is_done_once ON sittings (block) WHERE state != 'abandoned';
CREATE UNIQUE INDEX a_rater_has_one_block ON sittings (rater) WHERE state = 'open';
CREATE TABLE answers (
    sitting INTEGER NOT NULL REFERENCES sittings,
    trial TEXT NOT NULL,
    choice INTEGER,
    response_ms REAL NOT NULL,
    shown_ms TEXT NOT NULL,
    dropped TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (sitting, trial)
) WITHOUT ROWID;
"""
FREE = """
WITH given AS (SELECT block, COUNT(*) AS times FROM sittings GROUP BY block),
taken AS (SELECT block, picture_group FROM sittings JOIN blocks USING (block) WHERE state != 'abandoned'),
busy AS (SELECT picture_group, COUNT(*) AS times FROM taken GROUP BY picture_group),
person AS (
    SELECT rater FROM raters WHERE rater = :rater OR participant != '' AND participant =
        (SELECT participant FROM raters WHERE rater = :rater)
),
seen AS (SELECT picture_group FROM sittings JOIN blocks USING (block) JOIN person USING (rater))
SELECT blocks.block, blocks.picture_group FROM blocks
LEFT JOIN given ON given.block = blocks.block LEFT JOIN busy ON busy.picture_group = blocks.picture_group
WHERE blocks.block NOT IN (SELECT block FROM taken) AND blocks.picture_group NOT IN (SELECT picture_group FROM seen)
ORDER BY COALESCE(given.times, 0), COALESCE(busy.times, 0), blocks.rowid
"""
"""Blocks that a rater may be given, the one that is wanted most first: given to the fewest so far, then of the group of
pictures that is under way the least. Raters with the same participant are one person, who sees no picture twice."""


class NotOpenError(LookupError):
    """A trial or a block that this rater has not open."""


class ConflictError(ValueError):
    """What goes against what is stored."""


class LostError(OSError):
    """The file is not at its place any more."""


@dataclass
class RaterProgress:
    """How far one rater is, without blocks that were abandoned: answers of study trials, and those to catch trials."""

    rater: str
    participant: str
    done: int = 0
    abandoned: int = 0
    answers: int = 0
    dropped: int = 0
    catches: int = 0
    caught: int = 0


@dataclass
class Progress:
    """How far the study is: its blocks, how often one was abandoned, and its raters."""

    blocks: int
    done: int
    open: int
    abandoned: int
    raters: list[RaterProgress] = field(default_factory=list)

    def total(self, what: str) -> int:
        """The sum of a number over the raters."""
        return sum(getattr(rater, what) for rater in self.raters)


class Store:
    """The results of one study; may be called from several threads.

    Attributes:
        owner: The unguessable end of the address of the owner's pages.

    Args:
        path: Of the SQLite file, which is made if it is not there, readable to its owner alone.
        study: Whose results these are.
        idle_seconds: After so long without an answer an open block is abandoned, and is given to somebody else.
        clock: Seconds since 1970.

    Raises:
        OSError: If the file cannot be made or read.
        ValueError: If it is none, or holds the results of another study.
    """

    def __init__(self, path: Path, study: Study, idle_seconds: float, clock: Callable[[], float] = time.time) -> None:
        self.path, self.study, self.idle_seconds, self.clock = path.resolve(), study, idle_seconds, clock
        self.log = self.path.with_name(f"{self.path.name}-wal")
        self.lock = threading.Lock()
        self.files: list[tuple[int, int]] = []
        self.raters: dict[str, str] = {}
        self.path.touch(mode=0o600)
        try:
            self.database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self.database.execute("PRAGMA journal_mode = WAL")
            self.database.execute("PRAGMA synchronous = FULL")
            self.database.execute("PRAGMA foreign_keys = ON")
            self.owner = self._write(self._begin)
            self.files = self._files_there()
        except sqlite3.OperationalError as error:
            raise OSError(f"{path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} holds no results ({error}); give --results another file") from error

    def _begin(self) -> str:
        """The owner's token: of a new file, whose tables are made, or of one that is gone on with."""
        blocks = [(name, block.group, len(block.trials)) for name, block in self.study.blocks.items()]
        if not self.database.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]:
            for statement in TABLES.split(";"):
                self.database.execute(statement)
            self.database.execute(f"PRAGMA user_version = {VERSION}")
            self.database.execute("INSERT INTO study VALUES (?, ?)", (self.study.name, secrets.token_urlsafe(24)))
            self.database.executemany("INSERT INTO blocks VALUES (?, ?, ?)", blocks)
        if self.database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            raise ValueError(f"{self.path} was written by another version of this program; give another --results")
        name, owner = self.database.execute("SELECT name, owner FROM study").fetchone() or ("", "")
        if name != self.study.name or self.database.execute("SELECT * FROM blocks ORDER BY rowid").fetchall() != blocks:
            raise ValueError(f"{self.path} holds the results of another study; give --results another file")
        return str(owner)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def _write(self, work: Callable[[], T]) -> T:
        """Do work in a transaction, wholly or not at all, and return after its commit.

        Raises:
            LostError: If what was committed went into a file that is not at its place any more.
        """
        with self.lock:
            self.database.execute("BEGIN IMMEDIATE")
            try:
                result = work()
                self.database.execute("COMMIT")
            except BaseException:
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")
                raise
            self.require_files()
            return result

    def _files_there(self) -> list[tuple[int, int]]:
        """Which files are at the places of the database and of its log: what is committed stands in the two."""
        try:
            return [(each.st_dev, each.st_ino) for each in (self.path.stat(), self.log.stat())]
        except OSError:
            return []

    @property
    def lost(self) -> bool:
        """Whether the file was deleted, moved or replaced since it was opened: then nothing can be stored."""
        return self._files_there() != self.files

    def require_files(self) -> None:
        """Raise LostError if the file is lost."""
        if self.files and self.lost:
            raise LostError(f"{self.path} was deleted, moved or replaced while it was in use")

    def rescue(self) -> Path:
        """Write what a lost file held into a new one beside its place, and return that."""
        copy = self.path.with_name(f"{self.path.stem}-rescued-{time.time_ns()}{self.path.suffix}")
        copy.touch(mode=0o600)
        with self.lock:
            self.database.execute("VACUUM INTO ?", (str(copy),))
        return copy

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The file as it stands now, without keeping any writer waiting."""
        self.require_files()
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as database:
            database.execute("BEGIN")
            yield database

    def new_rater(self, participant: str) -> str:
        """Add a rater, whose public name and whose token have nothing to do with each other.

        Args:
            participant: What a crowd's site calls them; '' if nothing.

        Returns:
            The token, which is stored nowhere but by its hash.
        """
        token = secrets.token_urlsafe(24)
        row = (secrets.token_hex(8), sha256(token), participant, self.clock())
        self._write(lambda: self.database.execute("INSERT INTO raters VALUES (?, ?, ?, ?)", row))
        return token

    def rater_of(self, token: str) -> str | None:
        """The public name of the rater with a token."""
        hashed = sha256(token)
        if hashed not in self.raters:
            with self.lock:
                query = "SELECT rater FROM raters WHERE token_sha256 = ?"
                found = self.database.execute(query, (hashed,)).fetchone()
            if found is None:
                return None
            self.raters[hashed] = str(found[0])
        return self.raters[hashed]

    def block_of(self, rater: str) -> tuple[str, list[str]] | None:
        """The block that a rater has open, or else a new one.

        Returns:
            Its name, and which of its trials the rater has answered; None if no block is left for this rater.
        """
        return self._write(lambda: self._block_of(rater))

    def _block_of(self, rater: str) -> tuple[str, list[str]] | None:
        self._abandon_idle()
        if (mine := self._open_sitting(rater) or self._new_sitting(rater)) is None:
            return None
        sitting, block = mine
        rows = self.database.execute("SELECT trial FROM answers WHERE sitting = ?", (sitting,))
        answered = {trial for (trial,) in rows}
        return block, [trial for trial in self.study.blocks[block].trials if trial in answered]

    def _abandon_idle(self) -> None:
        """Close every block that is idle: it is done if all of it was answered and only its end was not heard of."""
        self.database.execute(
            """UPDATE sittings SET state = CASE
                WHEN (SELECT COUNT(*) FROM answers WHERE answers.sitting = sittings.sitting)
                   = (SELECT trials FROM blocks WHERE blocks.block = sittings.block) THEN 'done' ELSE 'abandoned' END
            WHERE state = 'open' AND active < ?""",
            (self.clock() - self.idle_seconds,),
        )

    def _open_sitting(self, rater: str) -> tuple[int, str] | None:
        """A rater's sitting and its block: the open one, or one that was abandoned and that nobody else has taken."""
        found: tuple[int, str] | None = self.database.execute(
            """SELECT sitting, block FROM sittings AS mine WHERE rater = ? AND (state = 'open' OR state = 'abandoned'
                AND NOT EXISTS (SELECT 1 FROM sittings WHERE block = mine.block AND state != 'abandoned'))
            ORDER BY state = 'open' DESC, active DESC""",
            (rater,),
        ).fetchone()
        if found:
            reopen = "UPDATE sittings SET state = 'open', active = ? WHERE sitting = ? AND state = 'abandoned'"
            self.database.execute(reopen, (self.clock(), found[0]))
        return found

    def _new_sitting(self, rater: str) -> tuple[int, str] | None:
        """A new sitting for a rater and its block."""
        free = self.database.execute(FREE, {"rater": rater}).fetchone()
        if free is None:
            return None
        insert = "INSERT INTO sittings (block, rater, state, active) VALUES (?, ?, 'open', ?) RETURNING sitting, block"
        [new] = self.database.execute(insert, (free[0], rater, self.clock())).fetchall()
        return int(new[0]), str(new[1])

    def keep(self, answer: Answer) -> None:
        """Store an answer; the same again changes nothing.

        Raises:
            NotOpenError: If its trial is not in the block that its rater has open.
            ConflictError: If the trial has another answer, which stays.
        """
        self._write(lambda: self._keep(answer))

    def _keep(self, answer: Answer) -> None:
        given = (answer.choice, answer.response_ms, json.dumps(answer.shown_ms), answer.dropped, answer.at)
        stored = self.database.execute(
            """SELECT choice, response_ms, shown_ms, dropped, at FROM answers JOIN sittings USING (sitting)
            WHERE rater = ? AND block = ? AND trial = ?""",
            (answer.rater, answer.block, answer.trial),
        ).fetchone()
        if stored == given:
            return
        if stored:
            raise ConflictError("this trial has another answer, which stays")
        sitting, block = self._open_sitting(answer.rater) or (0, "")
        if answer.block != block or answer.trial not in self.study.blocks[block].trials:
            raise NotOpenError("this trial is not in the block that you have open")
        self.database.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", (sitting, answer.trial, *given))
        self.database.execute("UPDATE sittings SET active = ? WHERE sitting = ?", (self.clock(), sitting))

    def end(self, rater: str, block: str) -> int:
        """Close a block all of whose trials are answered; closing it again changes nothing.

        Returns:
            How many more blocks there are for this rater.

        Raises:
            NotOpenError: If it is not the block that the rater has open.
            ConflictError: If a trial has no answer yet.
        """
        return self._write(lambda: self._end(rater, block))

    def _end(self, rater: str, block: str) -> int:
        done = "SELECT 1 FROM sittings WHERE rater = ? AND block = ? AND state = 'done'"
        if self.database.execute(done, (rater, block)).fetchone() is None:
            sitting, mine = self._open_sitting(rater) or (0, "")
            if mine != block:
                raise NotOpenError("this is not the block that you have open")
            answered = self.database.execute("SELECT COUNT(*) FROM answers WHERE sitting = ?", (sitting,)).fetchone()[0]
            if missing := len(self.study.blocks[block].trials) - answered:
                raise ConflictError(f"{missing} trials of this block have no answer yet")
            self.database.execute("UPDATE sittings SET state = 'done' WHERE sitting = ?", (sitting,))
        return len({group for _, group in self.database.execute(FREE, {"rater": rater})})

    def answers(self, with_abandoned: bool = False) -> list[Answer]:
        """All answers as they were stored, without those of blocks that were abandoned unless these are asked for."""
        self.require_files()
        return stored_answers(self.path, with_abandoned)

    def progress(self) -> Progress:
        """How far the study is, now."""
        self._write(self._abandon_idle)
        answers = self.answers()  # before the sittings, so that each answer's is among them
        with self._reading() as database:
            sittings = database.execute(
                "SELECT rater, participant, state FROM sittings JOIN raters USING (rater) ORDER BY sitting"
            ).fetchall()
        states = Counter(state for _, _, state in sittings)
        raters = {rater: RaterProgress(rater, participant) for rater, participant, _ in sittings}
        for rater, _, state in sittings:
            raters[rater].done += state == "done"
            raters[rater].abandoned += state == "abandoned"
        for answer in answers:
            trial, rater = self.study.trials[answer.trial], raters[answer.rater]
            rater.answers += trial.role == "study"
            rater.dropped += trial.role == "study" and answer.dropped is not None
            if trial.role == "catch" and answer.choice is not None:
                rater.catches += 1
                rater.caught += trial.meaning[answer.choice] == TRUTH
        return Progress(len(self.study.blocks), states["done"], states["open"], states["abandoned"], [*raters.values()])


def sha256(text: str) -> str:
    """Of a token, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
