"""Extractors by name, made from a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from avsed.config import Config
from avsed.errors import CheckpointError
from avsed.features.logmel import LogMel
from avsed.features.options import LOGMEL
from avsed.features.weights import Weights, own

if TYPE_CHECKING:
    from avsed.features.options import Options
    from avsed.features.pretrained import AuditoryExtractor, VisualExtractor

AnyExtractor: TypeAlias = "LogMel | AuditoryExtractor | VisualExtractor"


def make_extractor(name: str, config: Config, *, weights: Weights | None = None) -> AnyExtractor:
    """The extractor of a name with the options that a configuration gives it.

    name : one of `avsed.features.options.MODALITIES`
    weights : in place of those that the configuration names, or else of the published ones

    Raises WeightsError if weights of one's own cannot be read, or no hash of the published ones is known.
    """
    if name == LOGMEL:
        return LogMel(config.features)
    chosen = config.extractors
    options: Options = getattr(chosen, name.replace("-", "_"))
    if weights is None and options.weights is not None:
        weights = own(name, options.weights)
    if name == "vggish":
        from avsed.features import vggish

        a = chosen.vggish
        return vggish.Vggish(weights or vggish.PUBLISHED, step=a.step, relu=a.relu, pca=a.pca)
    if name == "efficientat":
        from avsed.features import efficientat as at

        b = chosen.efficientat
        return at.EfficientAT(
            weights or at.published(b.size), b.size, embedding=b.embedding, chunk=b.chunk, step=b.step
        )
    if name == "aisfx":
        from avsed.features import aisfx

        return aisfx.Aisfx(weights or aisfx.PUBLISHED)
    if name == "vgg16":
        from avsed.features import vgg16

        return vgg16.Vgg16(weights or vgg16.IMAGENET, config.features.rate, config.features.hop, config.model.time_pool)
    if name == "efficientnet-lite0":
        from avsed.features import efficientnet_lite as lite

        return lite.EfficientNetLite0(weights or lite.IMAGENET, chosen.efficientnet_lite0.images_per_second)
    raise ValueError(f"no extractor is called {name!r}")


def make_extractors(names: Sequence[str], config: Config) -> dict[str, AnyExtractor]:
    """Extractors by name, in the order given."""
    return {name: make_extractor(name, config) for name in names}


def restore(name: str, config: Config, told: Mapping[str, Any]) -> AnyExtractor:
    """The extractor that `describe` told of; weights of one's own may have moved to where weights are looked for.

    Raises CheckpointError if this version of avsed computes other features.
    """
    options: Options | None = getattr(config.extractors, name.replace("-", "_"), None)
    weights = None
    if options is not None and options.weights is not None:
        weights = Weights.from_dict(told["weights"], path=options.weights)
    extractor = make_extractor(name, config, weights=weights)
    if extractor.key != told["key"]:
        raise CheckpointError(
            f"the system was trained with features {told['key']}, but this version of avsed computes {extractor.key}; "
            "use the version it was trained with, or train again"
        )
    return extractor


def describe(extractor: AnyExtractor) -> dict[str, Any]:
    """What a result says of an extractor it rests on, as JSON values; for a pretrained one with its weights and their data."""
    told = {"key": extractor.key, "parameters": extractor.parameters, "dims": extractor.dims}
    return told if isinstance(extractor, LogMel) else told | {"weights": extractor.weights.to_dict()}
