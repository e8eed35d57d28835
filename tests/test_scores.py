"""Score files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avsed.errors import ScoresError
from avsed.scores import Scores, read_scores, write_scores


def scores(clip: str, frames: int, *, classes: tuple[str, ...] = ("Dog", "Cat")) -> Scores:
    generator = np.random.default_rng(frames)
    return Scores(
        clip,
        classes,
        generator.random((frames, len(classes)), np.float32),
        np.linspace(0, frames * 0.06, frames + 1),
        generator.random(len(classes), np.float32),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = [scores("a.mp4", 5), scores("b ü.mp4", 1), scores("c.mp4", 151)]
    write_scores(tmp_path / "deep" / "s.safetensors", written)
    read = read_scores(tmp_path / "deep" / "s.safetensors")
    for one, other in zip(written, read, strict=True):
        assert (one.clip, one.classes) == (other.clip, other.classes)
        for name in ("frames", "boundaries", "tags"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["s.safetensors"]


def test_clips_of_different_classes_do_not_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match=r"b\.mp4 has other classes"):
        write_scores(tmp_path / "s.safetensors", [scores("a.mp4", 2), scores("b.mp4", 2, classes=("Dog", "Cow"))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": np.zeros((3, 5), np.float32)}, "do not fit 2 classes"),
        ({"boundaries": np.arange(3.0)}, "need 4 boundaries"),
        ({"boundaries": np.array([0, 2, 1, 3.0])}, "must not decrease"),
        ({"tags": np.array([0.5, np.nan], np.float32)}, r"must lie in \[0, 1\]"),
        ({"frames": np.full((3, 2), 1.5, np.float32)}, r"must lie in \[0, 1\]"),
    ],
)
def test_scores_that_do_not_fit_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    good = {
        "frames": np.zeros((3, 2), np.float32),
        "boundaries": np.arange(4.0),
        "tags": np.zeros(2, np.float32),
    }
    Scores("a.mp4", ("Dog", "Cat"), **good)
    with pytest.raises(ScoresError, match=rf"a\.mp4.*{message}"):
        Scores("a.mp4", ("Dog", "Cat"), **(good | change))


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(ScoresError, match=r"s\.safetensors"):
        read_scores(path)
    path.write_bytes(b"not scores")
    with pytest.raises(ScoresError, match=r"s\.safetensors"):
        read_scores(path)
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ScoresError, match="not a file of scores"):
        read_scores(path)


def test_scores_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    written = [scores("a.mp4", 5), scores("b.mp4", 0), scores("c.mp4", 151)]
    write_scores(tmp_path / "s.safetensors", written)
    read = read_scores(tmp_path / "s.safetensors")
    assert (read.clips, read.classes, read.tags_from) == (
        ("a.mp4", "b.mp4", "c.mp4"),
        ("Dog", "Cat"),
        "clip probabilities",
    )
    assert [len(one.frames) for _ in range(2) for one in read] == [5, 0, 151] * 2
    assert read[-1].clip == "c.mp4"
    assert [one.clip for one in read[1:]] == ["b.mp4", "c.mp4"]
    assert np.array_equal(read.boundaries(2), written[2].boundaries)
    with pytest.raises(IndexError):
        read[3]
    write_scores(tmp_path / "again.safetensors", read)  # from file to file
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "s.safetensors").read_bytes()


def test_clips_are_chosen_and_renamed_and_classes_reordered(tmp_path: Path) -> None:
    written = [scores("a.mp4", 5), scores("b.mp4", 2)]
    write_scores(tmp_path / "s.safetensors", written)
    chosen = read_scores(tmp_path / "s.safetensors").chosen({"B.wav": "b.mp4", "A.wav": "a.mp4"}, ["Cat"])
    assert (chosen.clips, chosen.classes) == (("B.wav", "A.wav"), ("Cat",))
    assert chosen[1].clip == "A.wav"
    assert np.array_equal(chosen[1].frames, written[0].frames[:, 1:])
    assert np.array_equal(chosen[1].tags, written[0].tags[1:])


def test_the_file_is_one_that_safetensors_writes(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    written = [scores("a.mp4", 5), scores("b.mp4", 3)]
    write_scores(tmp_path / "s.safetensors", written)
    arrays = load_file(tmp_path / "s.safetensors")
    assert np.array_equal(arrays["frames"], np.concatenate([one.frames for one in written]))
    assert np.array_equal(arrays["boundaries"], np.concatenate([one.boundaries for one in written]))
    assert arrays["lengths"].tolist() == [5, 3]


def test_damaged_scores_are_named(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "s.safetensors"
    write_scores(path, [scores("a.mp4", 5), scores("b.mp4", 3)])
    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
    arrays = load_file(path)
    save_file(arrays | {"tags": arrays["tags"][:1].copy()}, path, metadata=about)
    with pytest.raises(ScoresError, match=r"s\.safetensors: damaged: its arrays do not fit 2 clips and 2 classes"):
        read_scores(path)
    save_file(arrays | {"frames": arrays["frames"] * np.nan}, path, metadata=about)
    with pytest.raises(ScoresError, match=r"s\.safetensors: b\.mp4: frame probabilities must lie"):
        read_scores(path)[1]
    save_file(arrays, path, metadata=about | {"clips": '["a.mp4", "a.mp4"]'})
    with pytest.raises(ScoresError, match=r"the clip 'a\.mp4' stands twice"):
        read_scores(path)
