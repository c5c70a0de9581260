"""Welsh et al.'s transfer, against a naive loop in float64 and closed forms."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from lightning_modules.checkpoint import find_checkpoint
from lightning_modules.color import to_float
from lightning_modules.colorizer import Colorizer
from lightning_modules.guidance import Guidance
from lightning_modules.welsh import module
from lightning_modules.welsh.module import Welsh, jittered_grid, most_alike, remapped, statistics
from tests.conftest import RandomPictures, colourful_pictures

CPU = torch.device("cpu")
EVERY_PIXEL = 10**6


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """RGB in [0, 1], `(count, 3, height, width)`."""
    return to_float(colourful_pictures(count, 32, seed))[:, :, :height, :width]


def picture_of(lab: np.ndarray) -> Tensor:
    """RGB in [0, 1], `(1, 3, H, W)`, of CIELab, `(H, W, 3)`."""
    return torch.from_numpy(lab2rgb(lab)).float().movedim(-1, 0)[None]


def transferred(rgb: Tensor, reference: Tensor, samples: int, neighbourhood: int = 5) -> Tensor:
    """One draw of each picture, `(B, 3, H, W)`."""
    welsh = Welsh(resolution=16, samples=samples, neighbourhood=neighbourhood)
    generator = torch.Generator().manual_seed(0)
    return welsh.colorize(welsh.luminance(rgb), guidance=Guidance(reference=reference), generator=generator)[:, 0]


def windows(luminance: np.ndarray, side: int) -> Iterator[tuple[int, int, float]]:
    """Each pixel and the standard deviation of those pixels of its window that lie in the picture."""
    reach = side // 2
    for y, x in np.ndindex(luminance.shape):
        window = luminance[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        yield y, x, float(np.sqrt(((window - window.mean()) ** 2).mean()))


def naive(rgb: np.ndarray, reference: np.ndarray, side: int) -> np.ndarray:
    """The paper's section 3.1 with every pixel of the reference a sample; RGB, `(H, W, 3)`."""
    lab, known = rgb2lab(rgb), rgb2lab(reference)
    grey, light = lab[..., 0], known[..., 0]
    light = (light - light.mean()) / light.std() * grey.std() + grey.mean()
    samples = [(light[v, u], deviation, known[v, u, 1:]) for v, u, deviation in windows(light, side)]
    for y, x, deviation in windows(grey, side):
        distances = [0.5 * abs(grey[y, x] - level) + 0.5 * abs(deviation - other) for level, other, _ in samples]
        lab[y, x, 1:] = samples[int(np.argmin(distances))][2]
    found: np.ndarray = lab2rgb(lab)
    return found


@pytest.mark.parametrize("side", [1, 5])
def test_colours_are_those_of_a_naive_loop(side: int) -> None:
    rgb, references = pictures(2, 11, 9), pictures(2, 8, 13, seed=1)
    found = transferred(rgb, references, EVERY_PIXEL, side)
    for number in range(2):
        picture, reference = (each[number].movedim(0, -1).double().numpy() for each in (rgb, references))
        np.testing.assert_allclose(found[number].movedim(0, -1).numpy(), naive(picture, reference, side), atol=5e-4)


@pytest.mark.parametrize("side", [1, 3, 5, 31])
def test_deviation_is_that_of_the_window_inside_the_picture(side: int) -> None:
    luminance = 100 * torch.rand(1, 7, 12, generator=torch.Generator().manual_seed(0))
    found = statistics(luminance, side)
    expected = [deviation for *_, deviation in windows(luminance[0].double().numpy(), side)]
    np.testing.assert_allclose(found[:, 1].numpy(), expected, atol=1e-4)
    assert torch.equal(found[:, 0], luminance.flatten())


def test_small_deviations_of_a_bright_picture_are_kept() -> None:
    luminance = torch.full((1, 9, 9), 99.0)
    luminance[:, :, ::2] += 2**-9
    found = statistics(luminance, 5).view(9, 9, 2)[4, 4, 1]
    assert found.item() == pytest.approx(2**-9 * (0.6 * 0.4) ** 0.5, rel=1e-3)


def test_flat_pictures_have_no_deviation() -> None:
    for level in torch.linspace(1, 99, 60):
        assert (statistics(level.expand(1, 31, 31), 31)[:, 1] < 1e-3).all()


def test_remapped_luminance_has_the_mean_and_deviation_of_the_other() -> None:
    generator = torch.Generator().manual_seed(0)
    luminance, other = 80 * torch.rand(1, 20, 30, generator=generator), 40 + torch.randn(1, 9, 7, generator=generator)
    found = remapped(luminance, other)
    assert found.mean().item() == pytest.approx(other.mean().item(), abs=1e-4)
    assert found.std(correction=0).item() == pytest.approx(other.std(correction=0).item(), abs=1e-4)
    slopes = found.diff() / luminance.diff()
    torch.testing.assert_close(slopes, slopes[:, :1, :1].expand_as(slopes), rtol=1e-2, atol=1e-3)
    assert slopes[0, 0, 0] > 0


def test_a_flat_luminance_is_remapped_to_the_mean_whatever_its_rounding() -> None:
    other = torch.tensor([[[20.0, 60.0]]])
    flat = torch.full((1, 5, 5), 53.1)
    flat[0, 2, 2] = torch.nextafter(flat[0, 2, 2], flat.new_tensor(100.0))
    assert (remapped(flat, other) - 40).abs().max() < 0.1
    assert torch.equal(remapped(other, flat[:, :1]), torch.full((1, 1, 2), 53.1))


def test_a_picture_in_which_luminance_tells_the_colour_is_its_own_best_reference() -> None:
    height, width = 9, 14
    level = np.random.default_rng(0).permutation(np.linspace(30, 70, height * width)).reshape(height, width)
    lab = np.stack([level, 20 * np.cos(level / 5), 20 * np.sin(level / 5)], axis=-1)
    rgb = picture_of(lab)
    torch.testing.assert_close(transferred(rgb, rgb, EVERY_PIXEL), rgb, rtol=0, atol=1e-4)


def test_dark_follows_dark_and_light_follows_light() -> None:
    red, blue = (30.0, 20.0), (-5.0, -25.0)

    def two_tones(height: int, width: int, dark: float, light: float) -> np.ndarray:
        lab = np.empty((height, width, 3))
        lab[:, : width // 2], lab[:, width // 2 :] = (dark, *red), (light, *blue)
        return lab

    reference, wanted = two_tones(40, 60, 35, 70), two_tones(24, 18, 45, 60)[:, ::-1].copy()
    found = transferred(picture_of(wanted * [1, 0, 0]), picture_of(reference), samples=200)
    torch.testing.assert_close(found, picture_of(wanted), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(140, 140, 14, 14), (100, 200, 10, 20)])
def test_every_cell_of_the_grid_has_one_sample(height: int, width: int, rows: int, columns: int) -> None:
    for seed in range(20):
        chosen = jittered_grid((height, width), 200, torch.Generator().manual_seed(seed), CPU)
        cells = {(int(pixel) // width // 10, int(pixel) % width // 10) for pixel in chosen}
        assert len(chosen) == rows * columns
        assert cells == set(np.ndindex(rows, columns))


def test_every_pixel_can_be_a_sample_and_is_as_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    chosen = torch.cat([jittered_grid((6, 10), 8, generator, CPU) for _ in range(2000)])
    counts = torch.bincount(chosen, minlength=60)
    assert len(counts) == 60
    expected = len(chosen) / 60
    assert (counts - expected).abs().max() < 5 * expected**0.5


@pytest.mark.parametrize("size", [(256, 256), (480, 640), (1080, 1920), (1, 300), (300, 1), (3000, 4000)])
def test_samples_are_about_as_many_as_wanted(size: tuple[int, int]) -> None:
    chosen = jittered_grid(size, 200, None, CPU)
    assert len(chosen) == pytest.approx(200, abs=10)
    assert chosen.min() >= 0
    assert chosen.max() < size[0] * size[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (5, 8)])
def test_a_small_reference_gives_each_pixel_once(size: tuple[int, int]) -> None:
    for samples in (size[0] * size[1], 200):
        assert jittered_grid(size, samples, None, CPU).tolist() == list(range(size[0] * size[1]))


def test_the_result_does_not_depend_on_how_many_pixels_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    wanted, known = (100 * torch.rand(count, 2, generator=generator) for count in (1000, 30))
    whole = most_alike(wanted, known)
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 7)
    assert torch.equal(most_alike(wanted, known), whole)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 3)])
def test_tiny_references_do(size: tuple[int, int]) -> None:
    found = transferred(pictures(1, 10, 12), pictures(1, *size, seed=1), samples=200)
    assert found.shape == (1, 3, 10, 12)
    assert found.isfinite().all()


def test_a_reference_of_one_pixel_gives_its_chroma_to_all() -> None:
    level = np.linspace(40, 60, 30).reshape(5, 6)
    wanted = np.stack([level, np.full_like(level, 12), np.full_like(level, -8)], axis=-1)
    found = transferred(picture_of(wanted * [1, 0, 0]), picture_of(np.array([[[80.0, 12, -8]]])), samples=200)
    torch.testing.assert_close(found, picture_of(wanted), rtol=0, atol=1e-3)


def test_flat_pictures_and_flat_references_do() -> None:
    flat, varied = torch.full((1, 3, 9, 9), 0.4), pictures(1, 9, 9)
    for rgb, reference in ((flat, varied), (varied, flat), (flat, flat)):
        assert transferred(rgb, reference, samples=20).isfinite().all()


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.samples is at least 1, not 0"):
        Welsh(resolution=16, samples=0)
    for neighbourhood in (0, 4, -1):
        with pytest.raises(ValueError, match=f"odd number of pixels, not {neighbourhood}"):
            Welsh(resolution=16, neighbourhood=neighbourhood)
    with pytest.raises(ValueError, match="Welsh colours by a reference, and got none"):
        Welsh(resolution=16).colorize(torch.zeros(1, 1, 8, 8))


def test_a_run_that_learns_nothing_leaves_its_checkpoint_without_complaints(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("train", ["+experiment=welsh", f"run.directory={tmp_path}", "trainer.accelerator=cpu"])
    callbacks = [instantiate(callback) for callback in (config.callbacks.last, config.callbacks.samples)]
    trainer = instantiate(config.trainer, callbacks=callbacks, logger=False, enable_progress_bar=False)
    trainer.fit(instantiate(config.model), RandomPictures(16))
    assert not [str(warning.message) for warning in recwarn if "None" in str(warning.message)]
    assert find_checkpoint(tmp_path).name == "last.ckpt"
    assert Colorizer.load(tmp_path).hparams == {"resolution": 256, "samples": 200, "neighbourhood": 5}
    assert len(list((tmp_path / "samples").iterdir())) == 1
