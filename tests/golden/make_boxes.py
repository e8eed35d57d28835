"""Make `boxes.json`: sound event bounding boxes of random curves, as the authors' own package finds them.

Needs an environment of its own: ``pip install sebbs==1.0.2`` (AGPL; nothing of it is used by avsed). Then ``python make_boxes.py``.
"""

from __future__ import annotations

import itertools
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from sebbs.csebbs import CSEBBsPredictor

STEPS = (0.1, 0.32, 0.48, 1.3)
MERGES = ((0.15, np.inf), (np.inf, 1.5), (0.3, 3.0), (1.0, 2.0), (0.0, 1.0))


def grids() -> dict[str, np.ndarray]:
    """Boundaries: frames of a regular grid, cut at both edges as avsed cuts them, and of any length."""
    random = np.random.default_rng(1)
    period = 4 * 366 / 22100
    cut = np.clip(-0.5 * 366 / 22100 + period * np.arange(46), 0.0, 2.97)
    return {
        "regular": np.arange(41) * 0.08,
        "cut": cut,
        "any": np.round(np.append(0.0, np.cumsum(random.uniform(0.01, 0.2, 30))), 4),
    }


def curve(random: np.random.Generator, frames: int) -> np.ndarray:
    """A few events with soft edges over noise, float32."""
    places = np.arange(frames)
    found = random.uniform(0.0, 0.15, frames)
    for _ in range(3):
        begin, length = random.uniform(0, frames), random.uniform(2, frames / 3)
        found += random.uniform(0.2, 0.8) / (1 + np.exp(3 * (np.abs(places - begin) - length / 2)))
    return np.round(np.clip(found, 0, 1), 6).astype(np.float32)


def main() -> None:
    random = np.random.default_rng(0)
    cases = []
    for name, boundaries in grids().items():
        for _ in range(2):
            values = curve(random, len(boundaries) - 1)
            table = pd.DataFrame({"onset": boundaries[:-1], "offset": boundaries[1:], "x": values.astype(float)})
            found = []
            for step, (absolute, relative) in itertools.product(STEPS, MERGES):
                predictor = CSEBBsPredictor(step, absolute, relative)
                boxes = predictor.predict({"clip": table})["clip"]
                found.append(
                    {
                        "step": step,
                        "absolute": None if absolute == np.inf else absolute,
                        "relative": None if relative == np.inf else relative,
                        "boxes": [[round(on, 6), round(off, 6), round(mean, 6)] for on, off, _, mean in boxes],
                    }
                )
            cases.append({"grid": name, "curve": [round(float(x), 6) for x in values], "found": found})
    told = {
        "package": f"sebbs {metadata.version('sebbs')}",
        "boundaries": {name: grid.tolist() for name, grid in grids().items()},
        "cases": cases,
    }
    Path(__file__).with_name("boxes.json").write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
