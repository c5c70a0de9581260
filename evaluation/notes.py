"""What the record of a scoring says in words."""

from evaluation.protocols import ScoringProtocol
from evaluation.scorer import Entry
from evaluation.summary import Summary


def label_of(rules: ScoringProtocol, pictures: int, named: bool, complete: bool) -> str:
    """What a table calls the set: by the protocol's name for it only if it is that set, and whole."""
    count = f"{pictures:,} picture{'s' * (pictures != 1)}"
    if named:
        return str(rules.set)
    return count if complete else f"subset of {count}"


def notes(entry: Entry, rules: ScoringProtocol, summary: Summary, chosen: int, guided: int) -> list[str]:
    """What a reader of the scores should know, in sentences.

    Args:
        entry: Who was scored.
        rules: The protocol.
        summary: The scores.
        chosen: Pictures that the protocol wants coloured.
        guided: Those of them for which the set has what the protocol's guidance wants.
    """
    found = list(entry.colorizer.remarks) if entry.colorizer else []
    if guided < chosen:
        found.append(
            f"{chosen - guided:,} of {chosen:,} pictures have no reference by {rules.guidance} in this set and were "
            "not coloured"
        )
    counts, coloured = summary.counts, summary.picture_counts["coloured"]
    for name, what in (
        ("grey_prediction", "predictions have no colour at all"),
        ("mislabelled", "predictions hold another format than their suffix says"),
        ("lossy", "predictions are JPEGs, whose chroma is coarser than what the method made"),
    ):
        if counts[name]:
            found.append(f"{counts[name]:,} of {coloured:,} {what}")
    if summary.counts["small"] and "ms_ssim" in summary.metrics:
        found.append(
            f"MS-SSIM took fewer than five scales of {summary.counts['small']:,} pictures, whose shorter side is under "
            "176 pixels: it compares with nothing measured at other sizes"
        )
    if rules.samples and entry.samples < rules.samples:
        found.append(f"{rules.name} asks for {rules.samples} samples of each picture; here {entry.samples} was given")
    return found
