"""A trained system: network, classes, standardisation and the configuration it was trained with, in one file.

The file is safetensors with its description as JSON beside the tensors: reading it never runs code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import avsed
from avsed.config import Config, make_config
from avsed.data.bank import FeatureBank
from avsed.device import each
from avsed.errors import CheckpointError
from avsed.features.sequence import FeatureSequence
from avsed.features.standardise import Standardiser
from avsed.files import replacing
from avsed.model.crnn import Crnn
from avsed.scores import Scores
from avsed.timeline import FrameGrid, pooled_grid

FORMAT = "avsed system 1"


@dataclass(frozen=True)
class System:
    """What is needed to score a clip.

    config : the whole configuration of the training
    labels : the classes, in the order of the network's outputs
    standardiser : mean and deviation of each log-mel band over the training clips
    model : the network, in evaluation mode
    window : spectral frames of the longest training clip: the length in which longer recordings are scored
    """

    config: Config
    labels: tuple[str, ...]
    standardiser: Standardiser
    model: Crnn
    window: int

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def period(self) -> float:
        """Seconds from one frame of the scores to the next (about 0.0662 for the paper's model)."""
        return self.config.model.time_pool * self.config.features.hop / self.config.features.rate

    def frames_of(self, spectra: torch.Tensor, frames: torch.Tensor | None) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of a standardised, padded batch (see `Crnn.forward`), in evaluation mode, without gradients.

        Returns float32 (clips, model frames, classes) and float32 (clips, classes).
        """
        training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            output = self.model(spectra, frames)
        self.model.train(training)
        return output.frames.float().cpu().numpy(), output.clips.float().cpu().numpy()

    def score(self, clips: Sequence[str], features: Sequence[FeatureSequence], *, batch: int = 8) -> Iterator[Scores]:
        """Scores of clips from their log-mel features, each clip whole, batches side by side on a CPU.

        clips : names; features : one sequence a clip, rows = spectral frames
        """
        bank = FeatureBank(
            [partial(_given, sequence) for sequence in features],
            [len(sequence.values) for sequence in features],
            standardiser=self.standardiser,
            multiple=self.model.time_pool,
            device=self.device,
            resident=False,
        )
        # Clips of like length share a batch, so that little is padded; a clip's scores do not depend on its company.
        order = np.argsort([len(sequence.values) for sequence in features], kind="stable")
        batches = [order[begin : begin + batch] for begin in range(0, len(order), batch)]
        training = self.model.training
        self.model.eval()  # for all threads at once
        try:
            done = each(len(batches), lambda number: self.frames_of(*bank.gather(batches[number])), device=self.device)
        finally:
            self.model.train(training)
        found: dict[int, Scores] = {}
        for chosen, (frames, tags) in zip(batches, done, strict=True):
            for row, index in enumerate(chosen.tolist()):
                found[index] = self._scores(clips[index], features[index], frames[row], tags[row])
        for index in range(len(clips)):
            yield found[index]

    def _scores(self, clip: str, sequence: FeatureSequence, frames: np.ndarray, tags: np.ndarray) -> Scores:
        grid = self.grid(len(sequence.values), begin=sequence.begin, duration=sequence.duration)
        return Scores(clip, self.labels, frames[: grid.count].copy(), grid.boundaries, tags.copy())

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
        tensors["standardiser.mean"] = torch.from_numpy(np.ascontiguousarray(self.standardiser.mean))
        tensors["standardiser.deviation"] = torch.from_numpy(np.ascontiguousarray(self.standardiser.deviation))
        about = {
            "format": FORMAT,
            "avsed": avsed.__version__,
            "config": json.dumps(self.config.model_dump(mode="json")),
            "labels": json.dumps(self.labels),
            "window": str(self.window),
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
        standardiser = Standardiser(
            mean=tensors.pop("standardiser.mean").numpy(), deviation=tensors.pop("standardiser.deviation").numpy()
        )
        model = Crnn(config.model, classes=len(labels), bands=config.features.bands)
        try:
            model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items()})
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: the weights do not fit the configuration saved beside them: {error}"
            ) from error
        return cls(config, labels, standardiser, model.to(device).eval(), int(about["window"]))


def _given(sequence: FeatureSequence) -> FeatureSequence:
    return sequence
