"""What can be chosen about each extractor, and which stream it takes; nothing here imports PyTorch.

The extractors themselves are made by `avsed.features.extractors`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["audio", "video"]

LOGMEL = "logmel"
MODALITIES: dict[str, Modality] = {
    LOGMEL: "audio",
    "vggish": "audio",
    "efficientat": "audio",
    "aisfx": "audio",
    "vgg16": "video",
    "efficientnet-lite0": "video",
}
"""The extractors by name, and the stream of a recording that each one takes."""


class Options(BaseModel):
    """What all pretrained extractors have: the file of their weights."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weights: Path | None = Field(None, description="a file of your own in place of the published weights")

    def located(self) -> Self:
        """The same with an absolute path."""
        if self.weights is None:
            return self
        return self.model_copy(update={"weights": self.weights.expanduser().absolute()})


class VggishOptions(Options):
    step: int = Field(6, ge=1, description="from one chunk of 0.96 s to the next, in frames of 10 ms")
    relu: bool = Field(False, description="keep the ReLU after the embedding, as some ports do and Google does not")
    pca: bool = Field(False, description="post-process as AudioSet's published features were")


class EfficientATOptions(Options):
    size: Literal["mn01", "mn02", "mn04", "mn05", "mn10", "mn20", "mn30", "mn40"] = Field(
        "mn04", description="width of the network"
    )
    embedding: Literal["frames", "pooled"] = Field(
        "frames", description="from the last feature map, a row every 0.32 s, or pooled over a sliding window"
    )
    chunk: int = Field(96, ge=32, description="length of that window, in frames of 10 ms")
    step: int = Field(16, ge=1, description="from one window to the next, in frames of 10 ms")


class AisfxOptions(Options):
    pass


class Vgg16Options(Options):
    pass


class EfficientNetLite0Options(Options):
    images_per_second: float = Field(5.0, gt=0, description="pictures looked at in a second")


class ExtractorsConfig(BaseModel):
    """Options of the pretrained extractors; only those that a model uses matter."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    vggish: VggishOptions = VggishOptions()
    efficientat: EfficientATOptions = EfficientATOptions()
    aisfx: AisfxOptions = AisfxOptions()
    vgg16: Vgg16Options = Vgg16Options()
    efficientnet_lite0: EfficientNetLite0Options = Field(EfficientNetLite0Options(), alias="efficientnet-lite0")

    def located(self) -> Self:
        """The same with absolute paths of weights."""
        return self.model_copy(update={name: getattr(self, name).located() for name in type(self).model_fields})
