"""An extraction in a process of its own, for a cluster's workers: its parent may be gone, or ask it to stop, at any time.

The task: a configuration, the extractors' names and keys, clips (name, file), a number of workers, and the file for the answer.
"""

from __future__ import annotations

import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import avsed
from avsed.child import read_task
from avsed.config import make_config
from avsed.errors import AvsedError, CheckpointError
from avsed.features.bookkeeping import PartialResult, Run
from avsed.features.decoding_pass import needs_network
from avsed.features.extraction import fill
from avsed.features.extractors import make_extractors
from avsed.features.store import FeatureStore


def extract(task: dict[str, Any]) -> PartialResult:
    """Extract into this machine's store. Raises AvsedError as an extraction does, and if the extractors are others here."""
    config = make_config(task["config"], source="the extraction")
    extractors = make_extractors(list(task["keys"]), config)
    for name, extractor in extractors.items():
        if extractor.key != task["keys"][name]:
            raise CheckpointError(
                f"the worker's avsed {avsed.__version__} computes {extractor.key}, but {task['keys'][name]} is wanted: "
                "install the same version there, and give it the same weights"
            )
    device, told = None, ""
    if any(map(needs_network, extractors.values())):
        from avsed.device import choose_device, describe, set_threads

        set_threads(config.threads)
        device = choose_device(config.device)
        told = describe(device)
    run = Run(task["clips"], extractors, FeatureStore(), None)
    try:
        result = fill(run, workers=task["workers"], device=device)
    except KeyboardInterrupt:
        return PartialResult([run.outcome(index) for index in range(len(run.clips))], device=told)
    outcomes = [run.outcome(index) for index in range(len(run.clips))]
    return PartialResult(outcomes, result.seconds, result.waited, result.workers, told)


def main() -> int:
    """What the process does; returns its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a KeyboardInterrupt: clips in hand are kept
    task = read_task()
    try:
        answer = extract(task)
    except KeyboardInterrupt:  # before there was anything to keep
        return 128 + signal.SIGTERM
    except AvsedError as error:
        print(f"avsed: error: {error}", file=sys.stderr, flush=True)
        return 2
    Path(task["answer"]).write_bytes(pickle.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
