"""A trained system: network, classes, standardisation and the configuration it was trained with, in one file.

The file is safetensors with its description as JSON beside the tensors: reading it never runs code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import avsed
from avsed.config import Config, make_config
from avsed.data.bank import FeatureBank
from avsed.data.clips import Streams, clip_grid, make_bank, spectral_length
from avsed.device import each
from avsed.errors import CheckpointError
from avsed.features.standardise import Standardiser
from avsed.files import replacing
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn
from avsed.scores import Scores
from avsed.timeline import FrameGrid, pooled_grid

FORMAT = "avsed system 2"


@dataclass(frozen=True)
class System:
    """What is needed to score a clip.

    config : the whole configuration of the training
    labels : the classes, in the order of the network's outputs
    standardiser : mean and deviation of each log-mel band over the training clips; None without spectral input
    model : the network, in evaluation mode
    window : spectral frames of the longest training clip: the length in which longer recordings are scored
    extractors : what each stream's features were made with (`avsed.features.extractors.describe`), by name
    """

    config: Config
    labels: tuple[str, ...]
    standardiser: Standardiser | None
    model: Crnn
    window: int
    extractors: Mapping[str, Mapping[str, Any]]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def period(self) -> float:
        """Seconds from one frame of the scores to the next (about 0.0662 for the paper's model)."""
        return self.config.model.time_pool * self.config.features.hop / self.config.features.rate

    def bank(self, clips: Sequence[Streams]) -> FeatureBank:
        """Clips as the network takes them, each batch read when it is asked for."""
        return make_bank(
            clips,
            self.config,
            dims={name: about["dims"] for name, about in self.extractors.items()},
            standardiser=self.standardiser,
            device=self.device,
            resident=False,
        )

    def frames_of(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of a batch, in evaluation mode, without gradients.

        Returns float32 (clips, model frames, classes) and float32 (clips, classes).
        """
        training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            output = self.model(batch)
        self.model.train(training)
        return output.frames.float().cpu().numpy(), output.clips.float().cpu().numpy()

    def score(self, clips: Sequence[str], features: Sequence[Streams], *, batch: int = 8) -> Iterator[Scores]:
        """Scores of clips from their features, each clip whole, batches side by side on a CPU.

        clips : names; features : the streams of each clip
        """
        bank = self.bank(features)
        # Clips of like length share a batch, so that little is padded; a clip's scores do not depend on its company.
        order = np.argsort([spectral_length(streams, self.config) for streams in features], kind="stable")
        batches = [order[begin : begin + batch] for begin in range(0, len(order), batch)]
        training = self.model.training
        self.model.eval()  # for all threads at once
        try:
            done = each(len(batches), lambda number: self.frames_of(bank.gather(batches[number])), device=self.device)
        finally:
            self.model.train(training)
        found: dict[int, Scores] = {}
        for chosen, (frames, tags) in zip(batches, done, strict=True):
            for row, index in enumerate(chosen.tolist()):
                grid = clip_grid(features[index], self.config)
                own = frames[row, : grid.count].copy()
                found[index] = Scores(clips[index], self.labels, own, grid.boundaries, tags[row].copy())
        for index in range(len(clips)):
            yield found[index]

    def grid(self, frames: int, *, begin: float, duration: float) -> FrameGrid:
        """The time grid of the scores of ``frames`` spectral frames."""
        features = self.config.features
        return pooled_grid(
            frames=frames,
            pool=self.config.model.time_pool,
            hop=features.hop,
            rate=features.rate,
            duration=duration,
            begin=begin,
        )

    def save(self, path: str | Path) -> None:
        """Write the system into one file, whole or not at all.

        Raises CheckpointError, naming the file, if it cannot be written.
        """
        tensors = {
            f"model.{name}": value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()
        }
        if self.standardiser is not None:
            tensors["standardiser.mean"] = torch.from_numpy(np.ascontiguousarray(self.standardiser.mean))
            tensors["standardiser.deviation"] = torch.from_numpy(np.ascontiguousarray(self.standardiser.deviation))
        about = {
            "format": FORMAT,
            "avsed": avsed.__version__,
            "config": json.dumps(self.config.model_dump(mode="json")),
            "labels": json.dumps(self.labels),
            "window": str(self.window),
            "extractors": json.dumps(self.extractors),
        }
        try:
            with replacing(path) as temporary:
                save_file(tensors, temporary, metadata=about)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be written: {error}") from error

    @classmethod
    def load(cls, path: str | Path, *, device: torch.device) -> System:
        """Read what `save` wrote.

        Raises CheckpointError, naming the file, if it is missing, damaged, of another kind or does not fit its own configuration.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot read the trained system: {error}") from error
        if about.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: not a trained system (expected format {FORMAT!r}, found {about.get('format')!r})"
            )
        config = make_config(json.loads(about["config"]), source=str(path))
        labels = tuple(json.loads(about["labels"]))
        extractors = json.loads(about["extractors"])
        standardiser = None
        if config.spectral:
            standardiser = Standardiser(
                mean=tensors.pop("standardiser.mean").numpy(), deviation=tensors.pop("standardiser.deviation").numpy()
            )
        dims = {name: told["dims"] for name, told in extractors.items()}
        model = Crnn.configured(config, classes=len(labels), dims=dims)
        try:
            model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items()})
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: the weights do not fit the configuration saved beside them: {error}"
            ) from error
        return cls(config, labels, standardiser, model.to(device).eval(), int(about["window"]), extractors)
