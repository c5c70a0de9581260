"""Kits of studies, as small as they can be, for tests of the server."""

from pathlib import Path

from evaluation.vtt.study import Block, Role, Study, Trial, write_study

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>study</title><style>body { color: #222 }</style></head>
<body><header>which is real?</header><script>document.title = window.server ? "served" : "file"</script></body></html>
"""


def small_study(groups: int = 2, layers: int = 2, trials: int = 3) -> Study:
    """Blocks of `trials` study trials, one for practice before and a catch trial behind; the truth comes second."""
    all_trials, blocks = {}, {}
    for group in range(groups):
        for layer in range(layers):
            names = []
            for place in range(trials + 2):
                role: Role = "practice" if place == 0 else "catch" if place == trials + 1 else "study"
                name = f"{group:04x}{layer:04x}{place:04x}"
                shown = (f"{name}00000000000000000000", f"{name}11111111111111111111")
                other = "catch" if role == "catch" else "Method#0"
                all_trials[name] = Trial(role, f"picture{group}-{place}", shown, (other, "truth"))
                names.append(name)
            blocks[f"block{group}-{layer}"] = Block(group, tuple(names))
    return Study("a-study", "turing", 0, "Which is real?", 1000, layers, {"Method": 1}, {}, all_trials, blocks)


def write_kit(kit: Path, study: Study) -> Path:
    """A kit of a study, whose page and pictures stand for real ones."""
    pictures = kit / "public" / "pictures"
    pictures.mkdir(parents=True)
    (kit / "public" / "index.html").write_text(PAGE, encoding="utf-8")
    for trial in study.trials.values():
        for name in trial.shown:
            (pictures / f"{name}.png").write_bytes(b"\x89PNG " + name.encode())
    write_study(study, kit)
    return kit
