"""What every method must pass: a new one adds its line to `SMALL` and to `lightning_modules.METHODS`."""

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import OmegaConf

from configs.command import config_names
from lightning_modules import METHODS, TASKS
from lightning_modules.abilities import ExactLikelihood
from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.color import to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.layers.averaging import ParameterAveraging
from lightning_modules.pretrained.files import write_bundle
from tests.conftest import RandomPictures, colourful_pictures, quiet_trainer

PIC_STAGES = "[{width:8,blocks:1},{width:16,stride:2,blocks:1,dilation:2}]"
SMALL: dict[str, list[str]] = {
    "CIC": ["model=cic_tiny", "model.resolution=16", "model.network.width=4"],
    "Exemplar": [
        "model=exemplar_tiny",
        "model.resolution=16",
        "model.colorization.width=4",
        "model.transfer.width=4",
    ],
    "LRAC": [
        "model=lrac_tiny",
        "model.resolution=16",
        "model.network.width=4",
        "model.network.fc_width=16",
        "model.network.hidden_width=24",
    ],
    "PIC": ["model=pic_photos", f"model.embedding={PIC_STAGES}", "model.resolution=16", "model.mixtures=2"],
    "PICEmbedding": [
        "model=pic_embedding_imagenet",
        f"model.embedding={PIC_STAGES}",
        "model.resolution=16",
        "model.mixtures=2",
    ],
    "PixColor": [
        "model=pixcolor_tiny",
        "model.resolution=16",
        "model.pixelcnn={width:8,blocks:2,hidden_width:16}",
        "model.conditioning.width=8",
        "model.refinement.width=4",
    ],
    "SIGGRAPH17": ["model=siggraph17_tiny", "model.resolution=16", "model.network.width=4"],
    "Welsh": ["model=welsh", "model.resolution=16"],
}


def test_every_method_is_tested() -> None:
    assert SMALL.keys() == METHODS.keys()


@pytest.mark.parametrize("experiment", config_names("experiment"))
def test_experiment_composes_and_its_model_is_known(experiment: str) -> None:
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", [f"+experiment={experiment}", "+debug=fast"])
    assert config.model._target_.rpartition(".")[2] in METHODS | TASKS
    assert instantiate(config.protocol).samples == 1


def test_a_published_start_from_pretrained_weights_cannot_be_forgotten() -> None:
    starts = dict.fromkeys(
        ["lrac_imagenet", "lrac_lab_l2", "lrac_vgg16_grey", "lrac_voc", "pixcolor_coco", "pixcolor_imagenet"],
        "pretrained",
    )
    starts |= {"exemplar_imagenet": "pretrained.colorization", "exemplar_transfer_coco": "pretrained.encoder"}
    starts |= {"siggraph17_imagenet": "pretrained"}
    for experiment, setting in starts.items():
        with initialize_config_module("configs", version_base="1.3"):
            config = compose("train", [f"+experiment={experiment}"])
        *path, name = setting.split(".")
        assert OmegaConf.is_missing(OmegaConf.select(config.model, ".".join(path)) if path else config.model, name)


@pytest.fixture(params=METHODS)
def colorizer(request: pytest.FixtureRequest) -> Colorizer:
    """Each method, small, with fixed random weights."""
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", SMALL[request.param])
    torch.manual_seed(0)
    method = instantiate(config.model, _convert_="all")
    assert isinstance(method, Colorizer)
    assert type(method).__name__ == request.param
    return method.eval()


@pytest.fixture
def learner(colorizer: Colorizer) -> Colorizer:
    """Each method that learns."""
    if not learns(colorizer):
        pytest.skip("learns nothing")
    return colorizer


def learns(colorizer: Colorizer) -> bool:
    """Whether there is something to train."""
    return any(value.requires_grad for value in colorizer.parameters())


def needed(colorizer: Colorizer, pictures: int) -> Guidance:
    """What a method cannot colour without: a reference for each picture, of another size than any of theirs."""
    reference = to_float(colourful_pictures(pictures, 24, seed=1))[:, :, :19]
    return Guidance(reference=reference if "reference" in colorizer.requires else None)


def with_guided_upsampling(colorizer: Colorizer) -> Colorizer:
    """The same method with its chroma enlarged by luminance."""
    if "upsampling" not in colorizer.hparams:
        pytest.skip("its chroma has full size")
    guided = type(colorizer)(**{**colorizer.hparams, "upsampling": "guided"})
    guided.load_state_dict(colorizer.state_dict())
    return guided.eval()


def side_of(colorizer: Colorizer) -> int:
    """The resolution at which the method trains."""
    return int(colorizer.hparams["resolution"])


def fit(
    colorizer: Colorizer,
    steps: int,
    precision: Any = "32-true",
    resume: Path | None = None,
    callbacks: tuple[pl.Callback, ...] = (),
) -> pl.Trainer:
    """Train on random pictures with averaged weights."""
    pl.seed_everything(3, workers=True, verbose=False)
    trainer = quiet_trainer(
        max_steps=steps,
        precision=precision,
        limit_val_batches=0,
        callbacks=[ParameterAveraging(decay=0.9), *callbacks],
    )
    trainer.fit(colorizer, RandomPictures(side_of(colorizer)), ckpt_path=resume, weights_only=True)
    return trainer


class Crash(pl.Callback):
    """Saves a checkpoint after a step, in mid-epoch, and dies."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Die."""
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise RuntimeError("crash")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_step_changes_weights_and_keeps_them_finite(learner: Colorizer, precision: str) -> None:
    before = {name: value.clone() for name, value in learner.named_parameters()}
    fit(learner.train(), steps=1, precision=precision)
    assert all(value.isfinite().all() for value in learner.parameters())
    assert any(not torch.equal(value, before[name]) for name, value in learner.named_parameters())


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (21, 8), (2, 2)])
@pytest.mark.parametrize("guided", [False, True])
def test_colorize_keeps_size_range_and_luminance(colorizer: Colorizer, size: tuple[int, int], guided: bool) -> None:
    if guided:
        colorizer = with_guided_upsampling(colorizer)
    rgb = to_float(colourful_pictures(2, 48))[:, :, : size[0], : size[1]]
    luminance = colorizer.luminance(rgb)
    generator = torch.Generator().manual_seed(1)
    drawn = colorizer.colorize(luminance, samples=2, guidance=needed(colorizer, 2), generator=generator)
    assert drawn.shape == (2, 2, 3, *size)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    inside = ((drawn > 0) & (drawn < 1)).all(dim=2, keepdim=True)
    difference = colorizer.luminance(drawn.flatten(0, 1)).unflatten(0, (2, 2)) - luminance.unsqueeze(1)
    assert difference[inside].abs().max() < 1e-3 * luminance.max()


def test_colorize_follows_its_generator(colorizer: Colorizer) -> None:
    luminance = colorizer.luminance(to_float(colourful_pictures(1, 16)))

    def draw(seed: int, samples: int = 2) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return colorizer.colorize(luminance, samples=samples, guidance=needed(colorizer, 1), generator=generator)

    first = draw(1)
    state = torch.random.get_rng_state()
    assert torch.equal(first, draw(1))
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator was drawn from"
    assert torch.equal(first, draw(2)) != colorizer.stochastic
    assert torch.equal(first[:, 0], first[:, 1]) != colorizer.stochastic


def test_colorize_leaves_the_mode_as_it_was(colorizer: Colorizer) -> None:
    colorizer.train()
    generator = torch.Generator().manual_seed(0)
    colorizer.colorize(torch.full((1, 1, 16, 16), 0.5), guidance=needed(colorizer, 1), generator=generator)
    assert all(module.training for module in colorizer.modules())


@pytest.mark.parametrize("shape", [(1, 1, 1, 9), (1, 1, 9, 1), (1, 3, 9, 9), (9, 9)])
def test_colorize_refuses_what_it_cannot_colour(colorizer: Colorizer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"too small|shape"):
        colorizer.colorize(torch.zeros(shape))


def test_colorize_refuses_guidance_it_does_not_take(colorizer: Colorizer) -> None:
    given = {"reference", "hints", "labels", "histogram"} - colorizer.accepts
    for name in given:
        with pytest.raises(ValueError, match=f"no guidance by {name}"):
            colorizer.colorize(torch.zeros(1, 1, 8, 8), guidance=Guidance(**{name: torch.zeros(1)}))


def test_colorize_refuses_guidance_of_another_number_of_pictures(colorizer: Colorizer) -> None:
    for name in colorizer.accepts:
        told = {**dict.fromkeys(colorizer.requires, torch.zeros(2, 3, 8, 8)), name: torch.zeros(3, 3, 8, 8)}
        with pytest.raises(ValueError, match=f"2 pictures want as many of guidance by {name}, not 3"):
            colorizer.colorize(torch.zeros(2, 1, 8, 8), guidance=Guidance(**told))


def test_colorize_refuses_luminance_that_is_not_finite(colorizer: Colorizer) -> None:
    with pytest.raises(ValueError, match="not finite"):
        colorizer.colorize(torch.full((1, 1, 8, 8), torch.nan))


def test_works_under_bfloat16_autocast(colorizer: Colorizer) -> None:
    rgb = to_float(colourful_pictures(1, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        generator = torch.Generator().manual_seed(0)
        drawn = colorizer.colorize(colorizer.luminance(rgb), guidance=needed(colorizer, 1), generator=generator)
        assert drawn.dtype == torch.float32
        assert drawn.isfinite().all()
        if isinstance(colorizer, ExactLikelihood):
            assert colorizer.bits_per_dim(rgb).dtype == torch.float32


@pytest.mark.parametrize("step", [3, 4, 6])
def test_resumed_training_ends_with_the_weights_of_uninterrupted_training(
    learner: Colorizer, tmp_path: Path, step: int
) -> None:
    start = {name: value.clone() for name, value in learner.state_dict().items()}

    def fresh() -> Colorizer:
        again = type(learner)(**learner.hparams)
        again.load_state_dict(start)
        return again

    uninterrupted = fresh()
    fit(uninterrupted, steps=7)
    checkpoint = tmp_path / "half.ckpt"
    with pytest.raises(RuntimeError, match="crash"):
        fit(fresh(), steps=7, callbacks=(Crash(step, checkpoint),))
    resumed = fresh()
    assert fit(resumed, steps=7, resume=checkpoint).global_step == 7
    wanted = uninterrupted.state_dict()
    assert all(torch.equal(wanted[name], value) for name, value in resumed.state_dict().items())
    assert any(not torch.equal(wanted[name], value) for name, value in start.items())


def test_checkpoint_rebuilds_the_method_from_itself_alone(colorizer: Colorizer, tmp_path: Path) -> None:
    fit(colorizer.train(), steps=int(learns(colorizer))).save_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    loaded = Colorizer.load(tmp_path)
    assert type(loaded) is type(colorizer)
    assert not loaded.training
    assert loaded.hparams == colorizer.hparams
    assert all(torch.equal(value, colorizer.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_bundle_rebuilds_the_method_up_to_rounding(colorizer: Colorizer, tmp_path: Path) -> None:
    bundle = tmp_path / "small.safetensors"
    fit(colorizer.train(), steps=int(learns(colorizer))).save_checkpoint(tmp_path / "last.ckpt")
    write_bundle(read_checkpoint(tmp_path), bundle, provenance={})
    loaded = Colorizer.from_pretrained(bundle)
    assert type(loaded) is type(colorizer)
    assert loaded.hparams == colorizer.hparams
    for name, value in colorizer.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=2**-11, atol=2**-24)


def test_a_checkpoint_older_than_a_setting_takes_its_default(colorizer: Colorizer, tmp_path: Path) -> None:
    parameters = signature(type(colorizer)).parameters
    if "upsampling" not in parameters:
        pytest.skip("it has no setting with a default of its own")
    path = tmp_path / "old.ckpt"
    fit(colorizer.train(), steps=int(learns(colorizer))).save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["hyper_parameters"]["upsampling"]
    torch.save(checkpoint, path)
    assert Colorizer.load(path).hparams["upsampling"] == parameters["upsampling"].default
    assert Colorizer.load(path, upsampling="guided").hparams["upsampling"] == "guided"


def test_damaged_checkpoints_are_named(colorizer: Colorizer, tmp_path: Path) -> None:
    whole = tmp_path / "whole.ckpt"
    fit(colorizer.train(), steps=int(learns(colorizer))).save_checkpoint(whole)
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(whole.read_bytes()[:-100])
    other = tmp_path / "other.ckpt"
    torch.save({"weights": torch.zeros(1)}, other)
    text = tmp_path / "text.ckpt"
    text.write_text("no checkpoint")
    for path, words in ((cut, "cut short"), (other, "no checkpoint of a method"), (text, "not a whole checkpoint")):
        with pytest.raises(ValueError, match=words):
            Colorizer.load(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        Colorizer.load(tmp_path / "nowhere")
    weights = torch.load(whole, weights_only=True)
    weights["state_dict"] = {"of.another": torch.zeros(1)}
    torch.save(weights, whole)
    with pytest.raises(ValueError, match="does not fit"):
        Colorizer.load(whole)
    with pytest.raises(ValueError, match="has no warmth"):
        Colorizer.load(whole, warmth=1)
