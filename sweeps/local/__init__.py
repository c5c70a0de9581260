"""`python -m sweeps.local`: sweep files of Weights & Biases without an account, with Optuna."""
