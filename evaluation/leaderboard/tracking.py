"""The leaderboard in Weights & Biases: a table for each protocol, and the page as an artifact."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.leaderboard.tables import Table
from evaluation.tracking import is_logged_in


def log_leaderboard(tables: Sequence[Table], directory: Path, project: str) -> None:
    """Log tables and page in one run; without an account it is kept below the directory, for `wandb sync` later.

    Args:
        tables: Of the leaderboard.
        directory: Where its page and its Markdown were written.
        project: In Weights & Biases.
    """
    import wandb

    mode: Any = "online" if is_logged_in() else "offline"
    with wandb.init(project=project, job_type="leaderboard", dir=directory, mode=mode) as run:
        for table in tables:
            columns, data = _columns_and_data(table)
            run.log({table.anchor: wandb.Table(columns=columns, data=data)})
        artifact = wandb.Artifact("leaderboard", type="leaderboard")
        for name in ("leaderboard.html", "leaderboard.md"):
            artifact.add_file(str(directory / name))
        run.log_artifact(artifact)


def _columns_and_data(table: Table) -> tuple[list[str | int], list[list[Any]]]:
    measures = [column.measure for column in table.columns]
    parts = ("value", "low", "high")
    columns: list[str | int] = [
        "method",
        "kind",
        "protocol",
        *(f"{name}/{part}" for name in measures for part in parts),
    ]
    data = [
        [
            table.full_name(row),
            row.scores["kind"],
            row.protocol["hash"],
            *(row.metrics.get(name, {}).get(part) for name in measures for part in parts),
        ]
        for row in [*table.measured, *table.standing]
    ]
    return columns, data
