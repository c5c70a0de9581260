"""Matching of features: AdaIN and whitening and colouring against float64, over all pixels and label by label."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lightning_modules.exemplar.matching import MATCHINGS, describe, match

Array = npt.NDArray[np.float64]


def naive_adain(features: Array, reference: Array) -> Array:
    """AdaIN of one picture's pixels, `(C, N)`, channel after channel (equation 1)."""
    found = np.empty_like(features)
    for channel, (own, wanted) in enumerate(zip(features, reference, strict=True)):
        deviations = [np.sqrt(each.var(ddof=1) + 1e-5) for each in (own, wanted)]
        found[channel] = deviations[1] * (own - own.mean()) / deviations[0] + wanted.mean()
    return found


def naive_wct(features: Array, reference: Array) -> Array:
    """Whitening and colouring of one picture's pixels, `(C, N)`, by singular values, without those below 1e-5."""
    own, wanted = (each - each.mean(axis=1, keepdims=True) for each in (features, reference))
    spread = own @ own.T / (own.shape[1] - 1)
    turned, values, _ = np.linalg.svd(spread + 0.01 * np.trace(spread) / len(own) * np.eye(len(own)))
    white = sum(np.outer(turned[:, k], turned[:, k] @ own) / np.sqrt(values[k]) for k in range(len(own)))
    turned, values, _ = np.linalg.svd(wanted @ wanted.T / (wanted.shape[1] - 1))
    kept = [k for k in range(len(own)) if values[k] > 1e-5]
    coloured = sum(np.outer(turned[:, k], turned[:, k] @ white) * np.sqrt(values[k]) for k in kept)
    found = np.clip(coloured + reference.mean(axis=1, keepdims=True), features.min(), features.max())
    return np.asarray(found)


NAIVE = {"adain": naive_adain, "wct": naive_wct}


def naive_by_label(
    matching: str, features: Array, reference: Array, labels: npt.NDArray[np.int64], others: npt.NDArray[np.int64]
) -> Array:
    """Of one picture's pixels, `(C, N)`, label after label; labels of each pixel, `(N,)` and `(M,)`."""
    found = features.copy()
    for label in set(labels.tolist()):
        own, wanted = features[:, labels == label], reference[:, others == label]
        count, other = own.shape[1], wanted.shape[1]
        if count > 10 and other > 10 and count / other < 100 and other / count < 100:
            found[:, labels == label] = NAIVE[matching](own, wanted)
    return found


def matched(
    matching: str, features: Tensor, reference: Tensor, labels: Tensor | None = None, others: Tensor | None = None
) -> Tensor:
    """What the code under test makes of features."""
    way = MATCHINGS[matching]
    return match(way, features, describe(way, reference, others), labels)


def pixels(features: Tensor) -> Array:
    """`(B, C, h, w)` to `(B, C, N)`."""
    return features.flatten(2).double().numpy()


def mixed_features(count: int, channels: int, height: int, width: int, scale: float = 3.0) -> Tensor:
    """Features with correlated channels of many means, `(B, C, h, w)`."""
    mixing = torch.randn(count, channels, channels)
    features = torch.einsum("bcd,bdhw->bchw", mixing, torch.randn(count, channels, height, width))
    return scale * features + 5 * torch.randn(count, channels, 1, 1)


def nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels, `(B, H, W)`, below the middle of each pixel of maps of a size."""
    rows, columns = (
        [int((each + 0.5) * old / new) for each in range(new)] for old, new in zip(labels.shape[1:], size, strict=True)
    )
    return labels[:, rows][:, :, columns]


# Over all pixels


@pytest.mark.parametrize("matching", ["adain", "wct"])
@pytest.mark.parametrize("size", [(7, 9), (2, 2), (1, 30)])
def test_matching_is_that_of_float64(matching: str, size: tuple[int, int]) -> None:
    features, reference = mixed_features(1, 5, 6, 4), mixed_features(1, 5, *size)
    found = matched(matching, features, reference)
    wanted = NAIVE[matching](pixels(features)[0], pixels(reference)[0])
    assert found.dtype == torch.float32
    assert found.shape == features.shape
    assert np.abs(wanted - pixels(features)[0]).mean() > 1
    np.testing.assert_allclose(pixels(found)[0], wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("matching", ["adain", "wct"])
def test_pictures_of_a_batch_do_not_touch_each_other(matching: str) -> None:
    features, reference = mixed_features(3, 4, 6, 5), 9 * mixed_features(3, 4, 5, 5)
    features[1] *= 20
    found = matched(matching, features, reference)
    for own, one, other in zip(pixels(found), pixels(features), pixels(reference), strict=True):
        np.testing.assert_allclose(own, NAIVE[matching](one, other), rtol=1e-3, atol=1e-3)


def test_adain_of_features_with_themselves_changes_nothing() -> None:
    features = mixed_features(2, 6, 8, 5)
    torch.testing.assert_close(matched("adain", features, features), features, rtol=0, atol=1e-4)


def test_adain_gives_the_mean_and_the_deviation_of_the_reference() -> None:
    features, reference = mixed_features(2, 6, 8, 5), mixed_features(2, 6, 10, 3)
    found = pixels(matched("adain", features, reference))
    np.testing.assert_allclose(found.mean(axis=2), pixels(reference).mean(axis=2), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.std(axis=2, ddof=1), pixels(reference).std(axis=2, ddof=1), rtol=1e-3)


def test_adain_of_flat_channels_is_the_mean_of_the_reference() -> None:
    reference = mixed_features(2, 6, 8, 5)
    found = matched("adain", torch.full((2, 6, 4, 4), 3.0), reference)
    wanted = reference.mean(dim=(2, 3), keepdim=True).expand_as(found)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def test_wct_gives_the_mean_and_the_covariance_of_the_reference() -> None:
    features = 300 * torch.randn(1, 5, 40, 40)  # of equal variances, each of which becomes a hundredth larger
    mixing = torch.eye(5) + 0.2 * torch.randn(5, 5)
    reference = torch.einsum("cd,bdhw->bchw", mixing, torch.randn(1, 5, 30, 30)) + torch.randn(1, 5, 1, 1)
    (found,), (wanted,) = pixels(matched("wct", features, reference)), pixels(reference)
    np.testing.assert_allclose(found.mean(axis=1), wanted.mean(axis=1), rtol=0, atol=1e-4)
    covariance = np.cov(wanted)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() > 0.1
    np.testing.assert_allclose(np.cov(found), covariance / 1.01, rtol=0, atol=2e-3)


def test_wct_ends_in_the_range_of_the_picture() -> None:
    features, reference = mixed_features(1, 4, 6, 6), 50 * mixed_features(1, 4, 6, 6)
    found = matched("wct", features, reference)
    assert found.min() == features.min()
    assert found.max() == features.max()


def test_wct_leaves_out_directions_in_which_the_reference_is_flat() -> None:
    features, reference = mixed_features(1, 3, 6, 6), mixed_features(1, 3, 9, 9, scale=0.5)
    reference[:, 2] = 2 * reference[:, 1]
    reference[:, 0] = reference[:, :1].mean() + 2e-3 * torch.randn(9, 9)  # a variance of 4e-6
    (found,) = pixels(matched("wct", features, reference))
    assert found[0].std() < 2e-4
    np.testing.assert_allclose(found[2], 2 * found[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("matching", ["adain", "wct"])
def test_matching_is_done_in_float32_under_autocast(matching: str) -> None:
    features, reference = mixed_features(1, 8, 6, 6), mixed_features(1, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = matched(matching, features, reference)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, matched(matching, features, reference), rtol=0, atol=1e-3)
    half = matched(matching, features.bfloat16(), reference.bfloat16())
    wanted = matched(matching, features.bfloat16().float(), reference.bfloat16().float())
    assert torch.equal(half, wanted)


# By label


@pytest.mark.parametrize("matching", ["adain", "wct"])
def test_one_label_everywhere_is_none(matching: str) -> None:
    features, reference = mixed_features(1, 4, 6, 8), mixed_features(1, 4, 5, 7)
    labels, others = torch.full((1, 6, 8), 149), torch.full((1, 5, 7), 149)
    found = matched(matching, features, reference, labels, others)
    torch.testing.assert_close(found, matched(matching, features, reference), rtol=0, atol=1e-4)


@pytest.mark.parametrize("matching", ["adain", "wct"])
def test_each_label_is_matched_by_itself_or_left(matching: str) -> None:
    counts = {3: (11, 11), 0: (300, 41), 7: (10, 400), 8: (400, 10), 9: (50, 0), 2: (1100, 11), 4: (11, 1100)}
    counts |= {5: (1099, 11), 6: (11, 1099), 1: (0, 50)}
    treated = {3, 0, 5, 6}
    sides: list[list[Tensor]] = []
    for side in (0, 1):
        labels = torch.cat([torch.full((count[side],), label) for label, count in counts.items()])
        padding = torch.full((-len(labels) % 60,), 99 + side)  # a label that the other has not
        labels = torch.cat([labels, padding])
        sides.append([labels[torch.randperm(len(labels))].view(-1, 60) for _ in range(2)])
    labels, others = (torch.stack(side) for side in sides)
    features, reference = mixed_features(2, 3, *labels.shape[1:]), mixed_features(2, 3, *others.shape[1:])
    if matching == "wct":
        features, reference = features[:1], reference[:1]
        labels, others = labels[:1], others[:1]
    before = features.clone()
    found = matched(matching, features, reference, labels, others)
    assert torch.equal(features, before), "the features given were written to"
    for number, own in enumerate(pixels(found)):
        flat, flat_others = labels[number].flatten().numpy(), others[number].flatten().numpy()
        arguments = pixels(features)[number], pixels(reference)[number], flat, flat_others
        np.testing.assert_allclose(own, naive_by_label(matching, *arguments), rtol=0, atol=2e-3)
        changed = (own != pixels(features)[number]).any(axis=0)
        assert set(flat[changed].tolist()) == treated


@pytest.mark.parametrize("size", [(24, 40), (9, 23), (3, 4), (12, 5)])
def test_labels_of_another_size_are_those_nearest(size: tuple[int, int]) -> None:
    features, reference = mixed_features(2, 3, 9, 10), mixed_features(2, 3, 8, 12)
    labels, others = torch.randint(3, (2, *size)), torch.randint(3, (2, *size))
    found = matched("adain", features, reference, labels, others)
    own, wanted = nearest(labels, (9, 10)).flatten(1).numpy(), nearest(others, (8, 12)).flatten(1).numpy()
    for number, each in enumerate(pixels(found)):
        arguments = pixels(features)[number], pixels(reference)[number], own[number], wanted[number]
        np.testing.assert_allclose(each, naive_by_label("adain", *arguments), rtol=0, atol=1e-3)


def test_labels_that_the_reference_has_nowhere_leave_all_as_it_is() -> None:
    features = mixed_features(1, 3, 6, 6)
    found = matched(
        "adain", features, mixed_features(1, 3, 6, 6), torch.zeros(1, 6, 6).long(), torch.ones(1, 6, 6).long()
    )
    assert torch.equal(found, features)
