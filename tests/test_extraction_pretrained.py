"""Extraction with networks: one decoding pass for several extractors, batches across clips, one time frame a recording."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from fakes import RATE, Ear, Eye, Network, sine, weights, write
from safetensors import safe_open

from avsed.config import load_config
from avsed.data.clips import spectral_length
from avsed.errors import WeightsError
from avsed.features import decoding_pass, embedding
from avsed.features.bookkeeping import ExtractionResult
from avsed.features.embedding import in_half
from avsed.features.extraction import FEW, extract_features
from avsed.features.logmel import LogMel, LogMelParameters
from avsed.features.pretrained import embed
from avsed.features.store import FeatureStore
from avsed.media import picture_span, read_audio, read_audio_rates, read_images

MANY = FEW + 3


@pytest.fixture(autouse=True, scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("weights")
    torch.save({"factor": torch.tensor([1.5])}, folder / "factor.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSED_WEIGHTS", str(folder))
        yield folder


def pictures(seconds: float, rate: float = 10.0, begin: float = 0.0) -> dict[float, int]:
    return {begin + i / rate: 20 + (17 * i) % 200 for i in range(round(seconds * rate))}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """Clips of unequal lengths."""
    folder = tmp_path_factory.mktemp("clips")
    lengths = [0.5 + 0.1 * (number % 5) for number in range(MANY)]
    return [
        (f"{n}", write(folder / f"{n:02}.mkv", sound=sine(length, 200 + 20 * n), shown=pictures(length, 10 + n % 3)))
        for n, length in enumerate(lengths)
    ]


def every() -> dict[str, Any]:
    own = weights()
    return {
        "logmel": LogMel(LogMelParameters(rate=8000, window=512, hop=160, bands=16, highest=4000.0)),
        "ear": Ear(own),
        "whole": Ear(own, whole=True, rate=16_000),
        "eye": Eye(own),
        "other eye": Eye(own, period=0.07),
        "large eye": Eye(own, size=20),
    }


def values(result: ExtractionResult, name: str) -> list[np.ndarray]:
    return [stored.load().values for stored in result.files[name] if stored is not None]


def assert_same(one: ExtractionResult, other: ExtractionResult) -> None:
    for name in one.files:
        for a, b in zip(one.files[name], other.files[name], strict=True):
            assert a is not None and b is not None and (a.begin, a.stop) == (b.begin, b.stop)
            mine, theirs = a.load(), b.load()
            np.testing.assert_array_equal(mine.times, theirs.times)
            np.testing.assert_allclose(mine.values, theirs.values, atol=1e-5, rtol=1e-3)  # float16 rounds


def test_several_extractors_give_what_each_gives_alone(
    store: FeatureStore, clips: list[tuple[str, Path]], tmp_path: Path
) -> None:
    result = extract_features(clips, every(), store, workers=2)
    assert (result.done, result.cached, result.failures, result.absent) == (MANY, 0, (), {})
    assert result.workers == 2 and 0 < result.waited <= result.seconds and 0 < result.waiting <= 1
    for name in ("ear", "whole"):
        ear = every()[name]
        network = ear.network(Path(os.environ["AVSED_WEIGHTS"]) / "factor.pt")
        for (_, path), stored in zip(clips, result.files[name], strict=True):
            alone = embed(network, ear.front(read_audio(path, rate=ear.rate)), batch=3)
            assert stored is not None and stored.path.parts[-3] == ear.key
            found = stored.load()
            np.testing.assert_allclose(found.values, alone.values, atol=1e-5, rtol=1e-3)
            np.testing.assert_array_equal(found.times, alone.times)
            assert (found.begin, found.stop) == (alone.begin, alone.stop) and found.values.dtype == np.float16
    for name in ("eye", "other eye", "large eye"):
        eye = every()[name]
        network = eye.network(Path(os.environ["AVSED_WEIGHTS"]) / "factor.pt")
        for (_, path), stored in zip(clips, result.files[name], strict=True):
            sound = read_audio(path, rate=RATE)
            images = read_images(path, size=eye.size, fit=eye.fit, times=eye.wanted(sound.start, sound.stop))
            alone = embed(network, eye.front(images, begin=sound.start, stop=sound.stop), batch=3)
            assert stored is not None
            found = stored.load()
            np.testing.assert_allclose(found.values, alone.values, atol=1e-5, rtol=1e-3)
            np.testing.assert_array_equal(found.times, alone.times)
    singly = FeatureStore(tmp_path / "singly")
    for name, extractor in every().items():
        extract_features(clips[:FEW], {name: extractor}, singly)
    again = extract_features(clips[:FEW], every(), singly)
    assert (again.done, again.cached) == (0, FEW)
    assert_same(replace(result, files={name: own[:FEW] for name, own in result.files.items()}), again)


def test_an_ear_s_rate_does_not_shift_the_model_s_frames(store: FeatureStore, tmp_path: Path) -> None:
    """As 5299 samples, this sound has one spectral frame less than as the 2650 that 8000 Hz make of it."""
    path = write(tmp_path / "a.mkv", sound=sine(1.0)[:5299])
    config = load_config(None, ["inputs=vggish"])
    stored = extract_features([("a", path)], {"logmel": LogMel(), "ear": Ear(weights())}, store).files
    logmel, ear = stored["logmel"][0], stored["ear"][0]
    assert logmel is not None and ear is not None
    assert spectral_length({"vggish": ear}, config) == logmel.rows


def test_a_recording_is_decoded_once(
    store: FeatureStore, clips: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("read_audio_rates", "read_images", "picture_span"):
        real = getattr(decoding_pass, name)

        def counted(*arguments: Any, name: str = name, real: Any = real, **options: Any) -> Any:
            calls.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(decoding_pass, name, counted)
    extract_features(clips[:1], every(), store)
    assert sorted(calls) == ["read_audio_rates", "read_images", "read_images"]  # pictures of 16 pixels, and of 20


def test_batches_mix_clips(store: FeatureStore, clips: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(embedding, "MOST_ITEMS", 4)
    monkeypatch.setattr(Network, "sizes", [])
    given = clips[:5]  # 5 to 9 rows each, 35 in all
    result = extract_features(given, {"ear": Ear(weights())}, store)
    waits = embedding.PIECES * threads * 4
    assert sum(Network.sizes) == 35 and set(Network.sizes[:-1]) <= {4, 35 % 4, *(n % 4 for n in range(waits, 35))}
    assert sum(size == 4 for size in Network.sizes) >= 7
    assert [len(rows) for rows in values(result, "ear")] == [5, 6, 7, 8, 9]
    Network.sizes.clear()
    alike = [clips[n] for n in (0, 1, 5, 6, 10)]  # 0.5, 0.6, 0.5, 0.6, 0.5 s
    extract_features(alike, {"whole": Ear(weights(), whole=True)}, store)
    assert sorted(Network.sizes) == [1, 2, 2]


def test_each_extractor_goes_on_where_it_stopped(store: FeatureStore, clips: list[tuple[str, Path]]) -> None:
    given, three = clips[:6], {name: every()[name] for name in ("logmel", "ear", "eye")}
    extract_features(given[:4], {"ear": three["ear"]}, store)
    extract_features(given[2:5], {"eye": three["eye"], "logmel": three["logmel"]}, store)
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*/*.safetensors")}
    result = extract_features(given, three, store)
    assert (result.done, result.cached) == (4, 2)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len(list(store.folder.glob("*/*/*.safetensors"))) == 3 * 6
    assert all(stored is not None for files in result.files.values() for stored in files)


def test_weights_are_looked_for_first_and_only_if_needed(
    store: FeatureStore, clips: list[tuple[str, Path]], weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"factor": torch.tensor([2.0])}, weights_folder / "other.pt")
    ear = Ear(weights("other.pt"))
    extract_features(clips[:3], {"ear": ear}, store)
    (weights_folder / "other.pt").unlink()
    assert extract_features(clips[:3], {"ear": ear}, store).cached == 3
    monkeypatch.setattr("avsed.features.extraction.decode_clip", lambda *_: pytest.fail("nothing is to be decoded"))
    with pytest.raises(WeightsError, match=r"other\.pt"):
        extract_features(clips[:4], {"ear": ear}, store)


def test_streams_that_are_not_there_are_no_failures(store: FeatureStore, tmp_path: Path) -> None:
    given = [
        ("both", write(tmp_path / "a.mkv", sound=sine(0.5), shown=pictures(0.5))),
        ("heard", write(tmp_path / "b.mkv", sound=sine(0.6))),
        ("seen", write(tmp_path / "c.mkv", shown=pictures(0.8, begin=0.2))),
    ]
    result = extract_features(given, every(), store)
    assert result.failures == () and (result.done, result.cached) == (3, 0)
    assert {kind: [remark.name for remark in remarks] for kind, remarks in result.absent.items()} == {
        "audio": ["seen"],
        "video": ["heard"],
    }
    assert result.absent["video"][0].message == "has no video stream"
    for name in ("logmel", "ear", "whole"):
        assert [stored is not None for stored in result.files[name]] == [True, True, False]
    for name in ("eye", "other eye", "large eye"):
        assert [stored is not None for stored in result.files[name]] == [True, False, True]
    seen = result.files["eye"][2]
    assert seen is not None and (seen.begin, seen.stop) == tuple(picture_span(given[2][1]))
    again = extract_features(given, every(), store)
    assert (again.done, again.cached, again.failures, again.absent) == (0, 3, (), result.absent)
    only = extract_features(given, {"eye": every()["eye"]}, store)
    assert (only.done, only.cached, list(only.absent)) == (0, 2, ["video"])


def test_a_cover_picture_is_no_video_and_alone_no_recording(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        container.mux(cover.encode())
    for wanted in (every(), {"eye": every()["eye"]}, {"ear": every()["ear"]}):
        result = extract_features([("cover", path)], wanted, store)
        assert [remark.message for remark in result.failures] == [
            "holds neither sound nor moving pictures that can be decoded"
        ]
        assert result.absent == {} and (result.done, result.cached) == (0, 0)


def test_pictures_share_the_time_of_the_sound(store: FeatureStore, tmp_path: Path) -> None:
    """A stream that starts late, a variable frame rate, pictures that end before the sound."""
    shown = {0.0: 40, 0.1: 80, 0.5: 120, 0.55: 200}
    path = write(tmp_path / "late.mkv", sound=sine(1.0), late=0.3, shown=shown)
    result = extract_features([("late", path)], every(), store)
    span, sound = read_audio_rates(path, rates=[8000])
    assert span == pytest.approx((0.3, 1.3), abs=0.002) and sound[8000].start == span.begin
    stored = result.files["eye"][0]
    assert stored is not None and (stored.begin, stored.stop) == tuple(span)
    eye = stored.load()
    np.testing.assert_allclose(eye.times, span.begin + 0.1 * (np.arange(10) + 0.5))
    on_screen = [80, 80, 200, *[200] * 7]  # at 0.35, 0.45, 0.55, … s
    np.testing.assert_allclose(eye.values[:, 0] / 1.5, on_screen, atol=6)
    assert extract_features([("late", path)], {"eye": Eye(weights())}, FeatureStore(tmp_path / "alone")).files["eye"][
        0
    ] == replace(stored, path=tmp_path / "alone" / stored.path.relative_to(store.folder))


def test_damage_to_one_stream_leaves_the_other(store: FeatureStore, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mkv", sound=sine(1.0), shown=pictures(1.0))
    damaged = {"video": tmp_path / "v.mkv", "audio": tmp_path / "a.mkv"}
    with av.open(str(whole)) as source:
        packets = [(p.stream.type, bytes(p), p.pts, p.duration) for p in source.demux() if p.size]
    for kind, path in damaged.items():
        with av.open(str(whole)) as source, av.open(str(path), "w") as container:
            streams = {s.type: container.add_stream_from_template(s) for s in source.streams}
            for type_, data, pts, duration in packets:
                spoilt = b"\xff" * len(data) if kind == type_ == "video" else data
                packet = av.Packet(spoilt[:1] if kind == type_ == "audio" else spoilt)
                packet.stream, packet.pts, packet.dts, packet.duration = streams[type_], pts, pts, duration
                packet.time_base = Fraction(1, 1000)
                container.mux(packet)
    result = extract_features(list(damaged.items()), every(), store)
    failed = {remark.name: remark.message for remark in result.failures}
    assert result.absent == {} and len(result.failures) == 2
    assert "video packets" in failed["video"] and "audio packets" in failed["audio"]
    assert [files[0] is not None for files in result.files.values()] == [True, True, True, False, False, False]
    assert [files[1] is not None for files in result.files.values()] == [False, False, False, True, True, True]
    eye = result.files["eye"][1]
    assert eye is not None and (eye.begin, eye.stop) == tuple(picture_span(damaged["audio"]))  # by the pictures alone
    assert result.done == 2


def test_one_odd_clip_fails_alone(store: FeatureStore, clips: list[tuple[str, Path]]) -> None:
    result = extract_features(clips[:4], {"ear": Ear(weights(), fails_on=6), "eye": Eye(weights())}, store)
    assert [(remark.name, remark.message) for remark in result.failures] == [
        ("1", "ZeroDivisionError: an extractor's own mistake")
    ]
    assert [stored is not None for stored in result.files["ear"]] == [True, False, True, True]
    assert all(result.files["eye"]) and result.done == 4


def test_a_network_that_gives_no_numbers_fails_that_clip(
    store: FeatureStore, clips: list[tuple[str, Path]], weights_folder: Path
) -> None:
    torch.save({"factor": torch.tensor([float("nan")])}, weights_folder / "nan.pt")
    seen: list[tuple[int, int, int]] = []
    result = extract_features(
        clips[:2], {"ear": Ear(weights("nan.pt"))}, store, progress=lambda *numbers: seen.append(numbers)
    )
    assert [remark.message for remark in result.failures] == 2 * [
        "the extractor ear gave values that are not finite numbers"
    ]
    assert seen == [(0, 2, 0), (1, 2, 1), (2, 2, 2)] and not list(store.folder.glob("ear*"))


def test_features_are_kept_in_half_unless_they_are_too_large(
    store: FeatureStore, clips: list[tuple[str, Path]], weights_folder: Path
) -> None:
    torch.save({"factor": torch.tensor([1e6])}, weights_folder / "large.pt")
    result = extract_features(clips[:2], {"small": Ear(weights()), "large": Ear(weights("large.pt"))}, store)
    assert [own.dtype for own in values(result, "small")] == 2 * [np.float16]
    assert [own.dtype for own in values(result, "large")] == 2 * [np.float32]
    np.testing.assert_allclose(
        values(result, "large")[0], 1e6 / 1.5 * values(result, "small")[0].astype(np.float32), rtol=2e-3, atol=700
    )
    assert in_half(np.array([65504.0], np.float32)).dtype == np.float16
    stored = result.files["small"][0]
    assert stored is not None
    with safe_open(stored.path, framework="np") as file:
        about = json.loads(file.metadata()["weights"])
    assert about == weights().to_dict()


def test_sound_at_several_rates_is_that_of_each(clips: list[tuple[str, Path]]) -> None:
    for _, path in clips[:3]:
        span, heard = read_audio_rates(path, rates=[8000, 16_000, 22_100, 44_100])
        for rate, audio in heard.items():
            alone = read_audio(path, rate=rate)
            np.testing.assert_array_equal(audio.samples, alone.samples)
            assert (audio.rate, audio.start) == (rate, alone.start) and span.begin == audio.start
        assert span.stop == heard[16_000].stop and read_audio_rates(path, rates=[]) == (span, {})


def test_logmel_alone_imports_no_pytorch(clips: list[tuple[str, Path]], store: FeatureStore) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from avsed.features.extraction import extract_features\n"
        "from avsed.features.logmel import LogMel\nfrom avsed.features.store import FeatureStore\n"
        "result = extract_features([('a', Path(sys.argv[1]))], {'logmel': LogMel()}, FeatureStore(sys.argv[2]))\n"
        "assert result.done == 1 and 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(clips[0][1]), str(store.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
