"""The statistics that need published networks; each is imported, and its weights fetched, when it is wanted."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from evaluation.functional.weights import MissingWeightsError
from evaluation.statistics import Pairs, Statistic
from lightning_modules.pretrained import local_file


def network_statistics(
    weights: Mapping[str, str | None], wanted: Collection[str], device: torch.device
) -> tuple[dict[str, Statistic], dict[str, str]]:
    """What a set's networks measure of a picture; only the networks that the wanted measures need are built.

    Args:
        weights: Of `lpips` (torchvision's AlexNet), `inception` (of pytorch-fid) and `vgg16` (torchvision's): a
            local file, or `download`.
        wanted: Names of measures.
        device: Where the networks run.

    Returns:
        The statistics by name, and by name the wanted measures that must be left out, each with the reason.

    Raises:
        OSError: If weights cannot be fetched.
        ValueError: If a file holds something else.
    """
    found: dict[str, Statistic] = {}
    left_out: dict[str, str] = {}
    for name, (model, measures, statistics) in NETWORKS.items():
        needing = [measure for measure in measures if measure in wanted]
        if needing:
            path = weights.get(name)
            try:
                found |= statistics(None if path is None else local_file(path, model), device)
            except MissingWeightsError as error:
                left_out |= dict.fromkeys(needing, str(error))
    return found, left_out


def lpips_statistics(path: Path | None, device: torch.device) -> dict[str, Statistic]:
    """The distances of the samples from the truth, and from each other."""
    from evaluation.functional.perceptual import LearnedPerceptualSimilarity

    network = LearnedPerceptualSimilarity(path).to(device)

    def distance(first: Tensor, second: Tensor) -> Tensor:
        found: Tensor = network(first.to(device), second.to(device))
        return found

    return {
        "lpips": lambda pairs: distance(pairs.rgb, pairs.true_rgb.expand_as(pairs.rgb)),
        "lpips_diversity": lambda pairs: pairs.between_samples(distance),
    }


def inception_statistics(path: Path | None, device: torch.device) -> dict[str, Statistic]:
    """The features of the first sample and of the truth, (1, 2048)."""
    from evaluation.functional.inception import InceptionFeatures

    network = InceptionFeatures(path).to(device)
    return {
        "inception": lambda pairs: network(pairs.rgb[:1].to(device)),
        "inception_of_truth": lambda pairs: network(pairs.true_rgb.to(device)),
    }


def vgg16_statistics(path: Path | None, device: torch.device) -> dict[str, Statistic]:
    """Whether the class is the first of the network's, and whether it is among its first five, (S, 2)."""
    from evaluation.functional.classification import VGG16Classification, top_hits

    network = VGG16Classification(path).to(device)

    def hits(pairs: Pairs) -> Tensor:
        if pairs.label is None:
            raise ValueError("top_1 and top_5 want the class of every picture, which this set does not tell")
        labels = torch.tensor([pairs.label], device=device).expand(len(pairs.rgb))
        return top_hits(network(pairs.rgb.to(device)), labels)

    return {"top_hits": hits}


NETWORKS: dict[str, tuple[str, tuple[str, ...], Callable[[Path | None, torch.device], dict[str, Statistic]]]] = {
    "lpips": ("alexnet", ("lpips", "lpips_diversity"), lpips_statistics),
    "inception": ("fid_inception", ("fid",), inception_statistics),
    "vgg16": ("vgg16", ("top_1", "top_5"), vgg16_statistics),
}
"""By the name of its setting, each network's weights in the table, its measures, and what builds its statistics."""
