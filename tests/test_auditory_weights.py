"""The pretrained ears' weights: published files known by their hashes, others refused; real recordings with them."""

from __future__ import annotations

import csv
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ears import EARS, applied, noise

from avsed.errors import WeightsError
from avsed.features import aisfx, mobilenet, vggish
from avsed.features.efficientat import FILES, PUBLISHED, WIDTHS, EfficientAT, published
from avsed.features.mobilenet import MobileNet
from avsed.features.pretrained import embed
from avsed.features.vggish import PostProcessing, Vggish, VggishNetwork, pca_parameters
from avsed.features.weights import check, fill, own
from avsed.media import read_audio


def test_published_files_of_vggish_are_known_by_the_digits_in_their_names(tmp_path: Path) -> None:
    for weights in vggish.WEIGHTS:
        assert weights.sha256 in weights.file and weights.url is not None and weights.url.endswith(weights.file)
    file = tmp_path / "tiny.pth"
    file.write_bytes(b"tiny")
    digest = hashlib.sha256(b"tiny").hexdigest()
    check(file, replace(vggish.PUBLISHED, size=4, sha256=digest[:8]))
    with pytest.raises(WeightsError, match="damaged, or another file"):
        check(file, replace(vggish.PUBLISHED, size=4, sha256=digest[1:9]))


def test_a_damaged_pca_file_beside_the_weights_is_not_passed_over(tmp_path: Path) -> None:
    file, beside = tmp_path / "vggish.pth", tmp_path / vggish.PCA.file
    beside.write_bytes(b"cut short")
    with torch.device("meta"):
        tensors = VggishNetwork(relu=False).state_dict()
    torch.save({name: torch.zeros(1).expand(tensor.shape) for name, tensor in tensors.items()}, file)  # a few kB
    with pytest.raises(WeightsError, match=f"{vggish.PCA.file}: has 9 bytes"):
        Vggish(pca=True).network(file)


def test_sizes_without_a_known_hash_are_refused_and_a_file_of_ones_own_taken(tmp_path: Path) -> None:
    assert set(PUBLISHED) == {"mn04", "mn10"} and set(FILES) == set(WIDTHS)
    with pytest.raises(WeightsError, match=r"no hash is known of .* mn20: download https://.*/mn20_as_mAP_478\.pt"):
        published("mn20")
    with pytest.raises(ValueError, match="efficientat-mn04 are not of size mn10"):
        EfficientAT(size="mn10")
    file = tmp_path / "mn01.pt"
    torch.save(MobileNet(WIDTHS["mn01"]).state_dict(), file)
    ear = EfficientAT(own("efficientat", file), "mn01")
    assert ear.dims == 96 and ear.parameters["weights"] == ear.weights.sha256
    assert embed(ear.network(file), ear.front(noise(32_000, 32_000)), batch=1).values.shape == (4, 96)
    with pytest.raises(WeightsError, match="does not fit MobileNet"):
        EfficientAT().network(file)


def test_the_key_holds_what_shapes_the_rows_and_nothing_else() -> None:
    assert EfficientAT(step=6).key == EfficientAT().key
    ears = [*EARS, EfficientAT(PUBLISHED["mn10"], "mn10"), EfficientAT(embedding="pooled", step=6), Vggish(step=12)]
    ears += [Vggish(relu=True), Vggish(pca=True)]
    assert len({ear.key for ear in ears}) == len(ears)
    for ear in ears:
        assert pickle.loads(pickle.dumps(ear)) == ear  # worker processes are handed it


@pytest.mark.parametrize("ear", [lambda: Vggish(step=0), lambda: EfficientAT(chunk=31), lambda: EfficientAT(step=0)])
def test_numbers_out_of_range_are_refused(ear: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="step"):
        ear()


@pytest.mark.parametrize("kind", ["npz", "pth"])
def test_pca_post_processing_is_googles(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    held = {"pca_eigen_vectors": 0.2 * rng.standard_normal((128, 128)), "pca_means": rng.standard_normal(128)}
    file = tmp_path / f"pca.{kind}"
    if kind == "npz":
        np.savez(file, **held)
    else:
        torch.save(held, file)  # numpy arrays in a pickle, as in the published file
    embeddings = rng.standard_normal((7, 128)).astype(np.float32)
    found = applied(PostProcessing(*pca_parameters(file)), embeddings)
    components = np.dot(held["pca_eigen_vectors"], embeddings.T - held["pca_means"][:, None]).T
    expected = ((np.clip(components, -2, 2) + 2) * (255 / 4)).astype(np.uint8)
    assert set(np.unique(found - expected)) <= {-1.0, 0.0, 1.0} and (found == expected).mean() > 0.99
    assert found.min() == 0 and found.max() == 255


def test_other_files_are_no_pca_parameters(tmp_path: Path) -> None:
    file = tmp_path / "pca.pth"
    torch.save({"pca_eigen_vectors": np.eye(3), "pca_means": np.zeros(3)}, file)
    with pytest.raises(WeightsError, match=r"pca\.pth: .* expected shapes"):
        pca_parameters(file)
    torch.save({"pca_eigen_vectors": Path("never"), "pca_means": np.zeros(128)}, file)
    with pytest.raises(WeightsError, match=r"pca\.pth: cannot be read"):
        pca_parameters(file)


def test_only_the_published_checkpoint_of_aisfx_is_unpickled(tmp_path: Path) -> None:
    other = tmp_path / "checkpoint.pth"
    torch.save(({}, {}), other)
    with pytest.raises(WeightsError, match="has SHA-256"):
        aisfx.convert(other, tmp_path / "aisfx.safetensors")
    assert not (tmp_path / "aisfx.safetensors").exists()


# --- the published network on real recordings ---


@pytest.fixture(scope="module")
def mn04(shared: Path) -> Path:
    file = shared / "weights" / "mn04_as_mAP_432.pt"
    if not file.is_file():
        pytest.skip(f"published weights not at hand: no file {file}")
    return file


def test_published_weights_of_mn04_load_strictly(mn04: Path) -> None:
    assert own("efficientat", mn04).sha256 == PUBLISHED["mn04"].sha256
    held = torch.load(mn04, weights_only=True, map_location="cpu")
    network = MobileNet(WIDTHS["mn04"])
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in held.items()
    }
    network.load_state_dict(held, strict=True)
    fill(network, held, mn04)


@pytest.mark.parametrize(
    ("clip", "label", "wanted"),
    [
        ("test_00167.mp4", "Dog", {"Dog", "Animal"}),
        ("test_00115.mp4", "Cat", {"Cat", "Meow"}),
        ("test_00026.mp4", "Crying_baby", {"Baby cry, infant cry"}),
        ("test_00058.mp4", "Speech", {"Speech"}),
    ],
)
def test_mn04_knows_what_sounds_in_real_recordings(
    mn04: Path, shared: Path, clip: str, label: str, wanted: set[str]
) -> None:
    with (shared / "weights" / "audioset_class_labels_indices.csv").open(encoding="utf-8") as file:
        labels = [row["display_name"] for row in csv.DictReader(file)]
    with (shared / "avscenes" / "metadata" / "test.tsv").open(encoding="utf-8") as file:
        events = {row["event_label"] for row in csv.DictReader(file, delimiter="\t") if row["filename"] == clip}
    assert events == {label}
    ear = EfficientAT()
    prepared = ear.front(read_audio(shared / "avscenes" / "clips" / "test" / clip, rate=ear.rate))
    frames = ear.network(mn04)
    assert isinstance(frames, mobilenet.FrameEmbedding)
    ranked = [labels[number] for number in applied(frames.network, prepared.inputs)[0].argsort()[::-1][:3]]
    assert wanted <= set(ranked), ranked
    assert embed(frames, prepared, batch=1).values.shape == (len(prepared.times), 384)
