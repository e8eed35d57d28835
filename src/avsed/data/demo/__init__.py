"""The project's own small data set of videos, made by rule."""

from avsed.data.demo.scenes import LABELS, Recipe, generate

__all__ = ["LABELS", "Recipe", "generate"]
