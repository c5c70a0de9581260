"""Prepare the process of a command: every command imports this before anything heavy."""

import os
import sys
from io import TextIOWrapper

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # OpenMP's threads else spin while they wait, at others' cost

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, TextIOWrapper):  # tests and notebooks have others
        stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show must not end a command
