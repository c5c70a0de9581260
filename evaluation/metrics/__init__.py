"""Measures of whole sets, as torchmetrics: fed in batches, summed over processes, of a size that no set changes."""
