"""A step's work shared by the processes of a training (`avsed.training.distributed`).

::

    every process    the whole batch of the step ─ shift, mixup, filters, masks      as a single process makes it
    process r of N   its share, clips r, r + N, … ─ student, teacher ─▶ outputs
    every process    the outputs of all shares, put together ─ objective ─▶ losses of the whole batch
    process r of N   gradients through its own outputs, which `DistributedDataParallel` joins

So each mean of the objective is over the whole batch, whatever the shares hold: labelled clips or none, long clips or short ones. Left
to differ from a single process are rounding, the dropout masks, and, on a CPU, the statistics of batch norm.
"""

from __future__ import annotations

import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avsed.device import upload
from avsed.errors import ConfigError
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn, Output
from avsed.model.pooling import real_frames
from avsed.training.distributed import rank, size


def synchronised(student: Crnn) -> Crnn:
    """The network with batch norm over all shares. Only GPUs have that; on a CPU each share keeps its own statistics."""
    if size() > 1 and next(student.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(student)  # in place: parameters and their names stay
    return student


def joined(student: Crnn) -> nn.Module:
    """The network as a step calls it, which gives all processes the mean of their gradients."""
    if size() == 1:
        return student
    warnings.filterwarnings(
        "ignore", "Grad strides do not match"
    )  # of kernels with one input channel; it costs nothing
    network = DistributedDataParallel(student)
    network.broadcast_buffers = False  # the running buffers of the first process count: it alone saves and validates
    return network


def share(batch: Batch) -> Batch:
    """This process's clips of the batch, padded as before: clip i is that of process i mod N.

    Raises ConfigError if there are fewer clips than processes.
    """
    if batch.clips < size():
        raise ConfigError(
            f"a batch has {batch.clips} clips for {size()} processes; raise training.weak_batch, or start fewer"
        )

    def own(x: torch.Tensor) -> torch.Tensor:
        return x[rank() :: size()].contiguous()

    spectra, embeddings, lengths, present = batch
    return Batch(
        None if spectra is None else own(spectra),
        {name: own(x) for name, x in embeddings.items()},
        None if lengths is None else own(lengths),
        None if present is None else own(present),
    )


def gathered(student: Output, teacher: Output, batch: Batch, *, time_pool: int) -> tuple[Output, Output]:
    """The outputs for the whole ``batch`` from those for each share. Gradients flow into this process's own alone."""
    parts = (student.frames, student.clips[:, None], teacher.frames, teacher.clips[:, None])
    mine = torch.cat([part.detach() for part in parts], 1)  # (own clips, 2 · (frames + 1), classes)
    whole = mine.new_zeros(batch.clips, *mine.shape[1:])
    whole[rank() :: size()] = mine
    dist.all_reduce(whole)  # of each clip the sum of one output and zeros
    length = student.frames.shape[1]
    frames, clips, taught, taught_clips = whole.split([length, 1, length, 1], 1)

    def put(own: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
        return torch.slice_scatter(into, own, start=rank(), step=size())

    mask = None
    if batch.lengths is not None:
        mask = upload(real_frames(-(-batch.lengths // time_pool), length), whole.device)
    found = Output(put(student.frames, frames), put(student.clips, clips.squeeze(1)), mask)
    return found, Output(taught, taught_clips.squeeze(1), mask)
