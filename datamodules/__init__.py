"""Pictures in, batches out: `rgb` (uint8, (B, 3, H, W)), `key` (list of str) and, where a set has them, `label`."""

import os

# Before torch is imported: OpenMP's threads would spin while they wait, and slow down whatever else is at work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
