"""The Frechet distance of two sets of features (Heusel et al. 2017), from sums over pictures."""

import torch
from torch import Tensor


class FrechetSums:
    """The first and second moments of the features of predictions and of truths, in float64."""

    def __init__(self) -> None:
        self.pictures = 0
        self.sums: list[Tensor] = []
        self.products: list[Tensor] = []

    def add(self, predictions: Tensor, truths: Tensor) -> None:
        """Add the features of some pictures, (N, K) each."""
        both = [predictions.double(), truths.double()]
        if not self.pictures:
            self.sums = [torch.zeros(each.shape[1], dtype=torch.float64) for each in both]
            self.products = [torch.zeros(each.shape[1], each.shape[1], dtype=torch.float64) for each in both]
        self.pictures += len(predictions)
        for features, total, product in zip(both, self.sums, self.products, strict=True):
            total += features.sum(dim=0)
            product += features.T @ features

    def distance(self) -> float:
        """The distance of normal distributions with these moments.

        Raises:
            ValueError: If there are fewer than two pictures.
        """
        if self.pictures < 2:
            raise ValueError("the Frechet Inception distance wants at least 2 pictures: one has no covariance")
        means = [total / self.pictures for total in self.sums]
        covariances = [
            (product - self.pictures * mean.outer(mean)) / (self.pictures - 1)
            for product, mean in zip(self.products, means, strict=True)
        ]
        # The root of the product has the roots of its eigenvalues, of which rounding makes some complex
        shared = torch.linalg.eigvals(covariances[0] @ covariances[1]).sqrt().real.sum()
        spread = covariances[0].trace() + covariances[1].trace() - 2 * shared
        return float((means[0] - means[1]).square().sum() + spread)
