"""Sweeps: files for Weights & Biases, a driver without an account, and runs on clusters."""
