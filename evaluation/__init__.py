"""Pictures and numbers in, scores and pages out: from a method of ours or from anybody's folder."""

import os

# Before torch is imported: OpenMP's threads would spin while they wait, and slow down whatever else is at work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
