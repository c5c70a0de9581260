"""Every number of an experiment, composed by Hydra."""
