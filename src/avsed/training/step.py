"""One step of mean teacher training (paper, Section 2.3), in plain PyTorch.

On a GPU nothing in a step waits for its results: what the CPU sends is pinned, and losses stay on the device.
"""

from __future__ import annotations

import numpy as np
import torch

from avsed.config import TrainingConfig
from avsed.model.batch import Batch
from avsed.model.convolution import Convolution
from avsed.model.crnn import ConvolutionBlock, Crnn, RecurrentEncoder
from avsed.model.fusion import hide
from avsed.training import distributed, shares
from avsed.training.augmentation import Augmentation
from avsed.training.objective import Losses, objective
from avsed.training.schedule import learning_rate
from avsed.training.teacher import make_teacher, update_teacher


class MeanTeacher:
    """Student, teacher and optimiser.

    student : the network to train; the teacher starts as a copy of it
    config : loss weights, schedule, moving average
    seed : with the step's number it seeds each step's dropout
    stream_dropout : how often a clip's stream is hidden from both, if the student learns to do without
    deviation : float32 (bands,), of the standardised log-mel bands; augmentation by filters needs it
    """

    def __init__(
        self,
        student: Crnn,
        config: TrainingConfig,
        *,
        seed: int,
        stream_dropout: float = 0.0,
        deviation: np.ndarray | None = None,
    ) -> None:
        student = shares.synchronised(student)
        self.student, self.config, self.seed, self.stream_dropout = student.train(), config, seed, stream_dropout
        self._joined = shares.joined(student)
        self.teacher = make_teacher(student).train()
        self.augmentation = Augmentation(
            config.augmentation, time_pool=student.time_pool, seed=seed, deviation=deviation
        )
        half, cpu = config.precision == "bf16", next(student.parameters()).device.type == "cpu"
        self._mixed = half and not cpu
        for module in (*self.student.modules(), *self.teacher.modules()):
            if isinstance(module, ConvolutionBlock | RecurrentEncoder):
                module.fused = config.fused
            elif isinstance(module, Convolution):
                module.in_half = half and cpu
        self.optimiser = torch.optim.Adam(student.parameters(), lr=config.learning_rate, fused=True)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = config.precision != "fp32"

    def step(self, number: int, batch: Batch, tags: torch.Tensor, targets: torch.Tensor | None = None) -> Losses:
        """Train on one batch.

        number : of the step, from 0
        batch : weakly labelled clips, strongly labelled and unlabelled ones, in this order; where several processes train, each
            takes its share of them
        tags : float (labelled clips, classes), 0 or 1
        targets : float (strong clips, model frames, classes), 0 or 1, zero past a clip's end; None if there are none

        Returns the losses before the update, detached, on the device (reading them waits for it).
        """
        torch.manual_seed(derive_seed(self.seed, number))
        batch, tags, targets = self.augmentation.moved(number, batch, tags, targets)
        if self.student.fusion.absent:
            batch = hide(batch, len(self.student.fusion.streams), self.stream_dropout)
        seen, taught_from = self.augmentation.views(number, batch)
        if several := distributed.size() > 1:
            torch.manual_seed(derive_seed(self.seed, number, 1 + distributed.rank()))  # each has its own dropout
            seen, taught_from = shares.share(seen), shares.share(taught_from)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self._mixed):
            with torch.no_grad():
                taught = self.teacher(taught_from)
            found = self._joined(seen)
        if several:
            found, taught = shares.gathered(found, taught, batch, time_pool=self.student.time_pool)
        losses = objective(found, taught, tags, self.config, targets=targets)
        self.optimiser.zero_grad(set_to_none=True)
        # The gradients of the shares add up, where several processes get their mean.
        (losses.total * distributed.size() if several else losses.total).backward()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(number, self.config)
        self.optimiser.step()
        update_teacher(self.teacher, self.student, decay=self.config.step_average)
        return Losses(*(loss.detach() for loss in losses if loss is not None))  # what may be None is the last


def derive_seed(*numbers: int) -> int:
    """A well-mixed 63-bit seed from several numbers, such as a training's seed and a step's number."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
