"""VGGish: the paper's auditory embedding (Section 4.2), 128 values for each 0.96 s of sound, every 60 ms.

Source: S. Hershey et al., *CNN architectures for large-scale audio classification*, ICASSP 2017. Front end, network and
post-processing as in Google's reference, github.com/tensorflow/models/tree/master/research/audioset/vggish (Apache
2.0); names of tensors as in its port github.com/harritaylor/torchvggish (Apache 2.0), whose weights these are.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from avsed.errors import WeightsError
from avsed.features.pretrained import Prepared
from avsed.features.sequence import extractor_key
from avsed.features.spectrum import (
    MelSpectrum,
    chunks,
    hann,
    line_frequencies,
    mel_edges,
    row_times,
    sound,
    to_mel,
    triangles,
)
from avsed.features.weights import Weights, fill, find, look, state

if TYPE_CHECKING:
    from avsed.media import Audio

VERSION = 1
"""Rises whenever the numbers change."""

RATE, SIZE, WINDOW, HOP = 16_000, 512, 400, 160  # samples a second, of the transform, the window and the hop
BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0  # mel bands, Hz
OFFSET = 0.01  # added to mel magnitudes before the logarithm
CHUNK = 96
"""Frames in a chunk (Google's "example")."""
SHORTEST = (CHUNK - 1) * HOP + WINDOW
"""Samples that one chunk sees: 15,600, or 975 ms."""

CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")
"""The convolutions' channels and the 2×2 max pools between them."""
LAYERS = (6 * 4 * 512, 4096, 4096, 128)
"""Widths of the fully connected part, input first: what remains of time × of frequency × channels."""
DIMS = LAYERS[-1]

_PORT = "https://github.com/harritaylor/torchvggish/releases/download/v0.1"
PUBLISHED = Weights(
    name="vggish",
    file="vggish-10086976.pth",
    url=f"{_PORT}/vggish-10086976.pth",
    sha256="10086976",  # as much of it as is published: its first digits, in the file's name
    size=288_567_937,
    licence="Apache 2.0",
    source="Hershey et al., CNN architectures for large-scale audio classification, ICASSP 2017; converted by H. Taylor",
    pretrained_on=("YouTube-100M (a preliminary YouTube-8M)",),
)
PCA = replace(
    PUBLISHED,
    name="vggish-pca",
    file="vggish_pca_params-970ea276.pth",
    url=f"{_PORT}/vggish_pca_params-970ea276.pth",
    sha256="970ea276",
    size=181_358,
)
WEIGHTS = (PUBLISHED, PCA)


@dataclass(frozen=True)
class Vggish:
    """VGGish as an extractor (`avsed.features.pretrained.AuditoryExtractor`).

    weights : what the network is filled with
    step : from one chunk of 0.96 s to the next, in frames of 10 ms, >= 1; the paper's 6 gives 151 rows for 10 s
    relu : keep the ReLU after the embedding, as some published ports do and Google does not
    pca : post-process as AudioSet's published features were (PCA, whitening, 8 bits); needs the weights ``vggish-pca``

    ::

        frame   0         6         12                          a frame every 10 ms, each of 25 ms
        row 0   |------------ 96 frames ------------|           sees [0, 0.975) s, centred at 0.4875 s
        row 1             |------------ 96 frames ------------|         [0.06, 1.035) s          0.5475 s

    Only chunks that lie wholly in the sound count, as in Google's reference: 10 s give 998 frames and 151 chunks, the
    last one centred at 9.4875 s; less than a step of sound at the end (here 25 ms) is in none. Sound shorter than one
    chunk, 0.975 s, is filled up with zeros behind its end; its one row stands in the middle of the sound.

    Chunks share the log-mel map, which is computed once. They cannot share convolutions and stay what they are: each
    one is padded with zeros at its own edges, layer by layer, and its pools begin at its own first frame, while chunks
    start every 6 frames, which is no multiple of the 16 that the pools make one of.

    Raises ValueError if step < 1.
    """

    weights: Weights = PUBLISHED
    step: int = 6
    relu: bool = False
    pca: bool = False
    name: str = field(default="vggish", init=False)
    version: int = field(default=VERSION, init=False)
    modality: Literal["audio"] = field(default="audio", init=False)
    rate: int = field(default=RATE, init=False)
    dims: int = field(default=DIMS, init=False)
    whole: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.step < 1:
            raise ValueError(f"chunks need a step of at least one frame, got {self.step}")

    @property
    def parameters(self) -> dict[str, Any]:
        values = {"weights": self.weights.sha256, "step": self.step, "relu": self.relu}
        return values | {"pca": PCA.sha256 if self.pca else None}

    @property
    def key(self) -> str:
        return extractor_key(self.name, self.version, self.parameters)

    @property
    def period(self) -> float:
        return self.step * HOP / RATE

    def front(self, audio: Audio) -> Prepared:
        """Chunks of the log-mel map: float32 (rows, 96, 64).

        Raises ValueError if the sound is empty, not finite or not at 16 kHz.
        """
        samples = sound(audio, rate=RATE, shortest=SHORTEST, ear=self.name)
        inputs = chunks(log_mel(samples), CHUNK, self.step)
        first = SHORTEST / 2 / RATE
        times = row_times(audio, rows=len(inputs), first=first, period=self.period, shortest=SHORTEST)
        return Prepared(inputs, times, audio.start, audio.stop)

    def network(self, path: str | Path) -> nn.Module:
        """(items, 96, 64) to (items, 128). With PCA, its parameters are looked for beside the file and where weights are.

        Raises WeightsError if a file is missing, cannot be read or does not fit.
        """
        with torch.device("meta"):  # nothing is spent on initial values
            network = VggishNetwork(relu=self.relu)
        fill(network, state(path), path)
        if not self.pca:
            return network
        beside = Path(path).parent
        place = find(PCA, given=beside if look(PCA, given=beside) else None)
        return nn.Sequential(network, PostProcessing(*pca_parameters(place))).eval()


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The log-mel map of Google's reference: frames that lie wholly in the sound, magnitudes, ln(mel + 0.01).

    samples : float32 (n,), n >= 400, at 16 kHz; not normalised
    Returns float32 (1 + (n - 400) // 160, 64), at least ln(0.01).
    """
    return np.log(_spectrum()(samples) + OFFSET).astype(np.float32)


@functools.cache
def _spectrum() -> MelSpectrum:
    filters = triangles(to_mel(line_frequencies(RATE, SIZE)), mel_edges(BANDS, LOWEST, HIGHEST))
    return MelSpectrum(hann(WINDOW, periodic=True), SIZE, HOP, 1, filters)


class VggishNetwork(nn.Module):
    """Six 3×3 convolutions, four max pools, three fully connected layers.

    relu : keep the ReLU after the last layer
    """

    def __init__(self, *, relu: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 1
        for channels in CHANNELS:
            if isinstance(channels, int):
                layers += [nn.Conv2d(inside, channels, 3, padding=1), nn.ReLU()]
                inside = channels
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        connected: list[nn.Module] = []
        for inside, out in itertools.pairwise(LAYERS):
            connected += [nn.Linear(inside, out), nn.ReLU()]
        self.embeddings = nn.Sequential(*(connected if relu else connected[:-1]))

    def forward(self, spectra: Tensor) -> Tensor:
        """Log-mel chunks (items, 96, 64) to embeddings (items, 128)."""
        maps = self.features(spectra[:, None])  # (items, 512, 6, 4)
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # channels last, as TensorFlow flattens


class PostProcessing(nn.Module):
    """PCA with whitening, cut to [−2, 2], as whole numbers from 0 to 255: how AudioSet's features were published.

    vectors : float32 (128, 128), a component a row; means : float32 (128,)

    Google's code cuts the digits behind the point off, which is done here; the PyTorch port rounds.
    """

    vectors: Tensor
    means: Tensor

    def __init__(self, vectors: Tensor, means: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.register_buffer("means", means)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(items, 128) to whole numbers of the same shape and type."""
        components = (embeddings - self.means) @ self.vectors.T
        return ((components.clamp(-2.0, 2.0) + 2.0) * (255.0 / 4.0)).floor()


def pca_parameters(path: str | Path) -> tuple[Tensor, Tensor]:
    """Components (128, 128) and means (128,) from the port's file, in which they are numpy arrays, or Google's .npz.

    Raises WeightsError, naming the file, if it cannot be read or holds something else; no code in it is ever run.
    """
    import _codecs

    path = Path(path)
    rebuild = np.empty(0).__reduce__()[0]  # whatever unpickles arrays in this version of numpy
    arrays: list[Any] = [
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
        _codecs.encode,
    ]
    try:
        if path.suffix == ".npz":
            held: Any = dict(np.load(path, allow_pickle=False))
        else:
            with torch.serialization.safe_globals(arrays):
                held = torch.load(path, map_location="cpu", weights_only=True)
        vectors, means = (torch.as_tensor(held[f"pca_{name}"]).float() for name in ("eigen_vectors", "means"))
        if vectors.shape != (DIMS, DIMS) or means.numel() != DIMS:
            raise ValueError(f"expected shapes (128, 128) and (128,), got {vectors.shape} and {means.shape}")
    except Exception as error:  # see `avsed.features.weights.state`
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path}: cannot be read as VGGish's PCA parameters: {reason}") from error
    return vectors, means.flatten()
