"""What the record of a scoring says in words."""

from evaluation.plan import Plan
from evaluation.summary import Summary

NAMED = 5
"""Names that a note gives."""


def label_of(plan: Plan, pictures: int, named: bool, complete: bool) -> str:
    """What a table calls the set: by the protocol's name for it only if it is that set, and whole."""
    count = f"{pictures:,} picture{'s' * (pictures != 1)}"
    if named:
        return str(plan.rules.set)
    if not complete:
        return f"subset of {count}"
    return count if len(plan.wanted) == pictures else f"{count}, {len(plan.wanted):,} coloured"


def notes(plan: Plan, summary: Summary) -> list[str]:
    """What a reader of the scores should know, in sentences."""
    entry, rules = plan.entry, plan.rules
    found = list(entry.colorizer.remarks) if entry.colorizer else []
    if summary.unreadable:
        names = ", ".join(list(summary.unreadable)[:NAMED])
        more = ", ..." if len(summary.unreadable) > NAMED else ""
        found.append(f"{len(summary.unreadable):,} pictures could not be scored, and are not: {names}{more}")
    if plan.unguided:
        chosen = len(plan.guided) + plan.unguided
        found.append(
            f"{plan.unguided:,} of {chosen:,} pictures have no reference by {rules.guidance} in this set and were "
            "not coloured"
        )
    counts, coloured = summary.counts, summary.picture_counts["coloured"]
    if counts["exact"] and entry.kind != "baseline":
        found.append(f"{counts['exact']:,} of {coloured:,} predictions equal the truth in every pixel")
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
