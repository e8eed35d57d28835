"""The convolutional recurrent network (paper, Section 2.1), its tables written as data.

Shapes for ten classes and a clip of ten seconds::

    log-mel (clips, 604, 128) ─ 7 × [conv 3×3 → batch norm → ReLU → dropout → average pool] ─▶ (clips, 151, 128)
                              ─ beside them, reduced features of pretrained networks (`avsed.model.fusion`)
                              ─ 2-layer bidirectional GRU ─▶ (clips, 151, 256)
                              ─ linear, sigmoid ─▶ frame probabilities (clips, 151, 10)
                              ─ linear softmax over time ─▶ clip probabilities (clips, 10)

Clips of different lengths share a batch: rows past a clip's end are padding. They are zeroed after every convolution and
before every pooling, and the GRU runs on packed sequences, so that in evaluation a clip gives the same frames alone or in any batch.
Gated convolutions, or a transformer or conformer in the GRU's place, keep to the same (`avsed.model.encoders`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from avsed.config import Config, ModelConfig
from avsed.device import upload
from avsed.model.batch import Batch
from avsed.model.convolution import Convolution
from avsed.model.encoders import AttentionEncoder, GatedBlock
from avsed.model.fusion import Fusion, Reduced
from avsed.model.pooling import linear_softmax, real_frames
from avsed.timeline import pooled_frames


class Output(NamedTuple):
    """What the network says of a batch.

    frames : float (clips, frames, classes), probabilities in [0, 1]; zero past a clip's end
    clips : float (clips, classes), probabilities in [0, 1]
    mask : bool (clips, frames), True for real frames; None if all are real
    """

    frames: torch.Tensor
    clips: torch.Tensor
    mask: torch.Tensor | None


def _on_cpu_in_single(x: torch.Tensor) -> bool:
    """Whether the layer that takes x computes on a CPU in single precision."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


class ConvolutionBlock(nn.Module):
    """Convolution → batch norm → ReLU → dropout → (mask) → average pool. No bias: batch norm follows.

    `fused` says whether training on a CPU in single precision takes the fast path of `avsed.model.fused`, which computes the same.
    """

    fused = True

    def __init__(self, inputs: int, outputs: int, *, pool: tuple[int, int], kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = Convolution(inputs, outputs, kernel)
        self.norm = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.AvgPool2d(pool)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """x : float (clips, channels, frames, bands); mask : bool (clips, frames) or None -> the pooled map."""
        if self.fused and self.training and _on_cpu_in_single(x):
            from avsed.model.fused import fused_block  # compiled code that only training needs

            return fused_block(x, mask, self)
        x = self.dropout(torch.relu(self.norm(self.convolution(x))))
        if mask is not None:
            x = x * mask[:, None, :, None]
        return self.pool(x)


class ConvolutionalEncoder(nn.Module):
    """The convolution blocks, seven in the paper: log-mel spectra -> one vector a model frame."""

    def __init__(self, config: ModelConfig, *, bands: int) -> None:
        super().__init__()
        if bands != config.band_pool:
            raise ValueError(
                f"the pools {config.pools} reduce {config.band_pool} bands to one, but the input has {bands}"
            )
        sizes = zip((1, *config.channels), config.channels, config.pools, strict=False)
        block = GatedBlock if config.convolution == "gated" else ConvolutionBlock
        self.blocks = nn.ModuleList(
            block(i, o, pool=pool, kernel=config.kernel, dropout=config.dropout) for i, o, pool in sizes
        )
        self.pools = tuple(pool[0] for pool in config.pools)
        self.dims = config.channels[-1]

    def forward(self, spectra: torch.Tensor, frames: torch.Tensor | None) -> torch.Tensor:
        """spectra : float (clips, frames, bands), frames a multiple of the time pooling; frames : real ones of each clip.

        Returns float (clips, frames / time pooling, dims).
        """
        x = spectra[:, None]  # (clips, 1, frames, bands)
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x = block(x, None if frames is None else real_frames(frames, x.shape[2]))
            frames = None if frames is None else -(-frames // pool)
        return x.squeeze(3).transpose(1, 2)  # (clips, channels, frames, 1) -> (clips, frames, channels)


class RecurrentEncoder(nn.Module):
    """Bidirectional GRU over the frames of each clip, none of its steps on padding.

    `fused` says whether a CPU in single precision takes the fast path of `avsed.model.recurrence`, which computes the same.
    """

    fused = True

    def __init__(self, inputs: int, config: ModelConfig) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, config.hidden, config.layers, bidirectional=True, batch_first=True)
        self.dims = 2 * config.hidden

    def forward(self, x: torch.Tensor, frames: torch.Tensor | None) -> torch.Tensor:
        """x : float (clips, frames, inputs); frames : int64 (clips,) on the CPU, or None -> float (clips, frames, dims)."""
        if self.fused and _on_cpu_in_single(x):
            from avsed.model.recurrence import recur  # compiled code

            return recur(x, frames, self.gru)
        if frames is None:
            return self.gru(x)[0]
        # Sorted here, by uploads that do not wait: pack_padded_sequence itself would make a GPU wait for the CPU.
        order = torch.argsort(frames, descending=True, stable=True)
        packed = nn.utils.rnn.pack_padded_sequence(x[upload(order, x.device)], frames[order], batch_first=True)
        y = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])[0]
        return y[upload(torch.argsort(order), x.device)]  # (clips, frames, dims), in the order given


def sequence_encoder(inputs: int, config: ModelConfig) -> RecurrentEncoder | AttentionEncoder:
    """What joins the frames of a clip: the paper's GRU, or what `avsed.model.encoders` has in its place."""
    if config.sequence == "gru":
        return RecurrentEncoder(inputs, config)
    return AttentionEncoder(inputs, config.attention, conformer=config.sequence == "conformer")


class Crnn(nn.Module):
    """The paper's network, or one with other encoders in its places: streams of features in, frame and clip probabilities out.

    classes : number of classes, >= 1
    bands : number of mel bands, which the pools of ``config`` must reduce to one; None for a network without spectral input,
        which has no convolutions
    pretrained : the extractors whose features are fused with the spectral ones, and to how many values they are reduced
    dropout : rate of the reduced features
    learned : vectors are learned for streams that a clip lacks
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        classes: int,
        bands: int | None,
        pretrained: Mapping[str, Reduced] | None = None,
        dropout: float = 0.33,
        learned: bool = False,
    ) -> None:
        super().__init__()
        self.time_pool = config.time_pool
        self.convolutions = None if bands is None else ConvolutionalEncoder(config, bands=bands)
        spectral = None if self.convolutions is None else self.convolutions.dims
        self.fusion = Fusion(spectral, pretrained or {}, dropout=dropout, learned=learned)
        self.recurrent = sequence_encoder(self.fusion.dims, config)
        self.classifier = nn.Linear(self.recurrent.dims, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # several times faster in the first layers

    @classmethod
    def configured(cls, config: Config, *, classes: int, dims: Mapping[str, int]) -> Crnn:
        """The network that a configuration describes; dims : values in a row of each pretrained extractor it takes."""
        return cls(
            config.model,
            classes=classes,
            bands=config.features.bands if config.spectral else None,
            pretrained={name: Reduced(dims[name], size) for name, size in config.reduced.items()},
            dropout=config.fusion.dropout,
            learned=config.fusion.missing == "learned",
        )

    def forward(self, batch: Batch) -> Output:
        """Score a batch, whose spectra (if any) have ``time_pool`` frames for each of the model's.

        Raises ValueError if the spectra's length is no multiple of ``time_pool``, if a clip is longer than the batch, or if
        streams are absent and nothing was learned for them.
        """
        spectra, frames = batch.spectra, batch.lengths
        if spectra is not None and spectra.shape[1] % self.time_pool:
            raise ValueError(
                f"the input's {spectra.shape[1]} frames are no multiple of {self.time_pool}: pad with zeros"
            )
        length = batch.model_frames(self.time_pool)
        if frames is not None and int(frames.max()) > length * self.time_pool:
            raise ValueError(f"a clip has {int(frames.max())} frames, but the batch only {length * self.time_pool}")
        pooled = None if frames is None else -(-frames // self.time_pool)
        x = None
        if self.convolutions is not None:
            assert spectra is not None, "the network takes spectra"
            x = self.convolutions(spectra, None if frames is None else upload(frames, spectra.device))
        x = self.fusion(x, batch)  # (clips, length, dims), from (clips, length, channels) and the embeddings
        x = self.recurrent(x, pooled)  # (clips, length, the encoder's dims)
        mask = None if pooled is None else upload(real_frames(pooled, x.shape[1]), x.device)
        logits = self.classifier(x)  # (clips, length, classes)
        # In bf16 all probabilities above 0.998 would be 1.
        probabilities = torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)))
        if mask is not None:
            probabilities = probabilities * mask[:, :, None]
        return Output(probabilities, linear_softmax(probabilities, mask), mask)


def padded_length(frames: int, time_pool: int) -> int:
    """The length of a batch whose longest clip has ``frames`` spectral frames: the next multiple of ``time_pool``."""
    return pooled_frames(frames, time_pool) * time_pool


def parameter_count(model: nn.Module) -> int:
    """Number of trained values (1,037,690 for the paper's model and ten classes)."""
    return sum(parameter.numel() for parameter in model.parameters())
