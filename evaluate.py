"""Score a checkpoint under a named protocol.

python evaluate.py checkpoint=runs/pic_cifar10/RUN data=cifar10 data.root=FOLDER protocol=pic_cifar10
"""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from configs.command import as_dictionary, command


def evaluate_checkpoint(config: DictConfig) -> None:
    """Write `scores.json` and `pictures.png`, and print the scores."""
    from hydra.utils import instantiate

    from evaluation.record import write_json
    from evaluation.report.sheet import method_sheet
    from evaluation.report.table import print_scores
    from evaluation.runner import evaluate
    from lightning_modules.checkpoint import find_checkpoint
    from lightning_modules.color import to_float
    from lightning_modules.colorizer import Colorizer, choose_device

    if OmegaConf.is_missing(config, "checkpoint"):
        raise ValueError("name what to score: checkpoint=runs/NAME/RUN, a run's directory or a .ckpt file")
    checkpoint = find_checkpoint(config.checkpoint)
    colorizer = Colorizer.load(checkpoint, **config.overrides).to(choose_device(config.device))
    with open_dict(config):
        config.model = dict(colorizer.hparams)

    data = instantiate(config.data, _convert_="all")
    data.prepare_data()
    data.setup("test")
    loader = data.test_dataloader()
    rules = instantiate(config.protocol)
    scores = evaluate(colorizer, loader, rules, checkpoint, as_dictionary(config.data), config.batches)

    name = f"{rules.name}_{scores['set']['keys_sha256'][:8]}"
    output = Path(config.output_dir or checkpoint.parent / "evaluations" / name)
    write_json(output / "scores.json", scores)
    pictures = to_float(loader.spread(12).to(colorizer.device))
    method_sheet(colorizer, pictures, samples=4, seed=config.seed).save(output / "pictures.png")
    print_scores(scores)
    print(f"scores and pictures: {output}")


def main() -> None:
    """The command line."""
    command("evaluate", evaluate_checkpoint)


if __name__ == "__main__":
    main()
