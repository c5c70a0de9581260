"""The work behind colorize.py."""
