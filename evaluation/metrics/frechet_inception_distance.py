"""The Frechet Inception distance (Heusel et al. 2017)."""

from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance as FrechetDistance

from evaluation.functional.inception import InceptionFeatures


class FrechetInceptionDistance(FrechetDistance):
    """The distance between normal distributions fitted to the Inception features of the predictions and of the truths.

    It falls with the number of pictures, and has little meaning below the 2,048 of the features: compare only sets of
    one size.

    Args:
        weights: The network's, as pytorch-fid publishes them, a local file.

    Raises:
        MissingWeightsError: If there is no such file.
        ValueError: If it holds something else.
    """

    def __init__(self, weights: Path | None) -> None:
        super().__init__(feature=InceptionFeatures(weights), normalize=True)
        self.orig_dtype = torch.float32  # else torchmetrics fails on a process that has seen no picture

    def update(self, prediction: Tensor, truth: Tensor) -> None:  # type: ignore[override]
        """Add pictures, RGB in [0, 1], (B, 3, H, W)."""
        super().update(prediction, real=False)
        super().update(truth, real=True)

    def compute(self) -> Tensor:
        """The distance, a scalar, from 0.

        Raises:
            ValueError: If there are fewer than two pictures.
        """
        if self.real_features_num_samples < 2:
            raise ValueError("the Frechet Inception distance wants at least 2 pictures: one has no covariance")
        return super().compute()
