"""Scores of several methods on one page, beside what papers print."""
