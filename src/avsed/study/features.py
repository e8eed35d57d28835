"""The features that a study's settings take, computed before the trainings; as a process of its own, too, for a cluster's workers."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from avsed.child import read_task
from avsed.config import Config, make_config
from avsed.errors import AvsedError


def extract_all(configs: Mapping[str, Config], *, workers: int | None = None) -> None:
    """Compute the features that settings take, once for all, and see that their data can be used.

    Raises AvsedError (and its kin) as a training or evaluation would.
    """
    import torch

    from avsed.device import choose_device, set_threads
    from avsed.features.extractors import make_extractors
    from avsed.training.preparation import open_configured, reference_events, split_features

    known: set[str] = set()
    for config in sorted(configs.values(), key=lambda config: -len(config.streams)):
        extractors = make_extractors(config.streams, config)
        keys = {extractor.key for extractor in extractors.values()}
        if keys <= known:
            continue
        known |= keys
        set_threads(config.threads)
        device = choose_device(config.device)
        data = open_configured(config)
        own = config.data
        scored = [data.split(name) for name in (own.validation, own.test) if name is not None]
        for split in scored:
            reference_events(split)
        learned = [
            data.split(name)
            for name in (own.weak, own.unlabelled if config.training.unlabelled_batch else None)
            if name is not None and name in data.splits
        ]
        for split in (*learned, *scored):
            if split.clips:
                split_features(split, config, extractors, device=device, workers=workers)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the trainings are other processes


def main() -> int:
    """What the process does; its task: configurations by setting. Returns its exit status."""
    task = read_task()
    try:
        extract_all({name: make_config(own, source="the study") for name, own in task.items()})
    except AvsedError as error:
        print(f"avsed: error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
