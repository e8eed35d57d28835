"""The commands. Each is thin: it reads options, calls the Python function of the same name and prints what came back.

Heavy rooms are imported when a command runs, so that ``avsed --help`` answers at once.
"""

from avsed.cli import data, scoring, systems, weights
from avsed.cli.app import app, main

__all__ = ["app", "data", "main", "scoring", "systems", "weights"]
