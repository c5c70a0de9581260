"""Tar shards in WebDataset's format: written, indexed, checked, described and read.

A set of shards is a folder, here or on a server, of tar files, `manifest.json` (which shards make which split, their
sizes and SHA-256, what was left out and how they were made) and `index.npy` (one row a picture: where its bytes lie,
their checksum, its label, its size and how much colour it has).
"""
