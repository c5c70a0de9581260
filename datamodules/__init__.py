"""Pictures in, batches out: `rgb` (uint8, (B, 3, H, W)), `key` (list of str) and, where a set has them, `label`."""
