"""Extractors by name, made from a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avsed.config import Config
from avsed.features.logmel import LogMel
from avsed.features.options import LOGMEL
from avsed.features.weights import Weights, own

if TYPE_CHECKING:
    from avsed.features.options import Options
    from avsed.features.pretrained import AuditoryExtractor, VisualExtractor

    AnyExtractor = LogMel | AuditoryExtractor | VisualExtractor


def make_extractor(name: str, config: Config) -> AnyExtractor:
    """The extractor of a name with the options that a configuration gives it.

    name : one of `avsed.features.options.MODALITIES`

    Raises WeightsError if weights of one's own cannot be read, or no hash of the published ones is known.
    """
    chosen = config.extractors
    if name == LOGMEL:
        return LogMel(config.features)
    if name == "vggish":
        from avsed.features import vggish

        a = chosen.vggish
        return vggish.Vggish(_weights(vggish.PUBLISHED, a), step=a.step, relu=a.relu, pca=a.pca)
    if name == "efficientat":
        from avsed.features import efficientat

        b = chosen.efficientat
        published = efficientat.PUBLISHED.get(b.size) if b.weights else efficientat.published(b.size)
        weights = _weights(published or efficientat.PUBLISHED["mn04"], b)
        return efficientat.EfficientAT(weights, b.size, embedding=b.embedding, chunk=b.chunk, step=b.step)
    if name == "aisfx":
        from avsed.features import aisfx

        return aisfx.Aisfx(_weights(aisfx.PUBLISHED, chosen.aisfx))
    if name == "vgg16":
        from avsed.features import vgg16

        log_mel, pool = config.features, config.model.time_pool
        return vgg16.Vgg16(_weights(vgg16.IMAGENET, chosen.vgg16), log_mel.rate, log_mel.hop, pool)
    if name == "efficientnet-lite0":
        from avsed.features import efficientnet_lite

        c = chosen.efficientnet_lite0
        return efficientnet_lite.EfficientNetLite0(_weights(efficientnet_lite.IMAGENET, c), c.images_per_second)
    raise ValueError(f"no extractor is called {name!r}")


def make_extractors(names: Sequence[str], config: Config) -> dict[str, AnyExtractor]:
    """Extractors by name, in the order given."""
    return {name: make_extractor(name, config) for name in names}


def _weights(published: Weights, options: Options) -> Weights:
    return published if options.weights is None else own(published, options.weights)
