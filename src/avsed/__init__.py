"""Audio tagging and sound event detection with audiovisual transfer learning, from weakly labelled recordings."""

__version__ = "0.1.0"
