"""Pieces that two methods share."""
