"""Features of recordings while they are decoded: the same as an extraction's, stretch by stretch, at the right times."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import Ear, Eye, sine, weights, write

from avsed.errors import MediaError, MissingStreamError
from avsed.features.extraction import extract_features
from avsed.features.live import LiveFeatures, Recording
from avsed.features.logmel import LogMel
from avsed.features.sequence import FeatureSequence
from avsed.features.store import FeatureStore
from avsed.features.weights import find
from avsed.media import read_audio

COUNTED = 22_100
LOGMEL = LogMel()


@pytest.fixture(autouse=True, scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("weights")
    torch.save({"factor": torch.tensor([1.5])}, folder / "factor.pt")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSED_WEIGHTS", str(folder))
        yield folder


def extractors() -> dict[str, LogMel | Ear | Eye]:
    return {"logmel": LOGMEL, "ear": Ear(weights(), whole=True), "eye": Eye(weights(), period=0.21)}


def live(path: Path, pool: ThreadPoolExecutor, chosen: dict | None = None, *, optional: bool = False) -> LiveFeatures:
    chosen = extractors() if chosen is None else chosen
    networks = {name: e.network(find(e.weights)) for name, e in chosen.items() if not isinstance(e, LogMel)}
    return LiveFeatures(Recording(path), chosen, networks, rate=COUNTED, optional=optional, submit=pool.submit)


def extracted(path: Path, folder: Path, chosen: dict | None = None) -> dict[str, FeatureSequence]:
    chosen = extractors() if chosen is None else chosen
    result = extract_features([("clip", path)], chosen, FeatureStore(folder), workers=1)
    assert not result.failures
    return {name: files[0].load() for name, files in result.files.items() if files[0] is not None}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


GREYS = {0.5 * n: 10 + 11 * n for n in range(20)}


@pytest.mark.parametrize("late", [0.0, 0.37])
@pytest.mark.parametrize("seconds", [0.1, 3.0, 9.3])
def test_a_recording_taken_whole_is_what_extraction_makes_of_it(
    tmp_path: Path, pool: ThreadPoolExecutor, seconds: float, late: float
) -> None:
    path = write(tmp_path / "a.mkv", sound=sine(seconds), shown=GREYS, late=late)
    features = live(path, pool)
    found, expected = features.stretch(0, None)(), extracted(path, tmp_path / "store")
    assert set(found) == {"logmel", "ear", "eye"}
    for name, sequence in expected.items():
        np.testing.assert_array_equal(found[name].times, sequence.times, err_msg=name)
        np.testing.assert_array_equal(found[name].values, sequence.values, err_msg=name)
        assert found[name].begin == pytest.approx(sequence.begin)
        assert found[name].stop == pytest.approx(sequence.stop, abs=3e-5)  # half a sample


def test_stretches_hold_what_lies_in_them(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write(tmp_path / "a.mkv", sound=sine(9.0), shown=GREYS, late=0.2)
    whole = extracted(path, tmp_path / "store")
    heard = read_audio(path, rate=COUNTED)
    features = live(path, pool)
    length, advance = 2 * COUNTED, COUNTED
    first, count = 0, 0
    while features.reaches(first + length + advance):
        part = features.stretch(first, first + length)()
        start, stop = heard.start + first / COUNTED, heard.start + (first + length) / COUNTED
        # Log-mel: that of the stretch's own sound. Ear: a network over the stretch alone.
        alone = LOGMEL.extract(replace(heard, samples=heard.samples[first : first + length], start=start))
        np.testing.assert_array_equal(part["logmel"].values, alone.values)
        np.testing.assert_allclose(part["logmel"].times, alone.times)
        assert part["ear"].times[0] == pytest.approx(start + 0.05)
        assert (part["ear"].begin, part["ear"].stop) == (pytest.approx(start), pytest.approx(stop))
        # Eye: rows of the whole recording, all that are nearest to a time in the stretch, and not many more.
        wanted = {int(np.abs(whole["eye"].times - t).argmin()) for t in np.linspace(start, stop, 50)}
        rows = np.searchsorted(whole["eye"].times, part["eye"].times - 1e-9)
        assert abs(part["eye"].times[0] - start) <= 0.21 / 2  # row 0 is the stretch's first, should rows go by number
        assert wanted <= set(rows.tolist())
        np.testing.assert_array_equal(part["eye"].values, whole["eye"].values[rows])
        first, count = first + advance, count + 1
    assert count == 6
    last = features.stretch(first, None)()
    assert last["eye"].stop == pytest.approx(heard.stop, abs=1e-4)
    np.testing.assert_array_equal(last["eye"].values[-1], whole["eye"].values[-1])
    assert last["eye"].times[-1] == whole["eye"].times[-1]  # pictures go on, but the recording ends with its sound


def test_a_stretch_lasts_as_long_for_every_stream(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """A window's frames are counted in samples of one rate, which an ear's rate cannot always express."""
    features = live(write(tmp_path / "a.mkv", sound=sine(9.0), shown=GREYS, late=0.2), pool)
    samples = 31 * 4 * 366 - 1
    for first in range(0, 90_000, 4 * 366 * 15):
        for sequence in features.stretch(first, first + samples)().values():
            assert sequence.begin == pytest.approx(0.2 + first / COUNTED, abs=1e-9)
            assert round((sequence.stop - sequence.begin) * COUNTED) == samples


def test_what_lies_before_a_stretch_is_forgotten(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write(tmp_path / "a.mkv", sound=sine(40.0), shown={2.0 * n: 10 * n for n in range(20)})
    features = live(path, pool)
    held = []
    for second in range(0, 36, 2):
        features.stretch(second * COUNTED, (second + 2) * COUNTED)()
        held.append((sum(len(t._held) / t.rate for t in features._tracks.values()), len(features._gazes["eye"]._seen)))
    assert max(seconds for seconds, _ in held) < 2 * 13  # a block of ten seconds more than the stretch, at each rate
    assert max(parts for _, parts in held) <= 3


def test_an_eye_alone_needs_no_sound_that_can_be_decoded(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path, only_eye = write(tmp_path / "a.mkv", sound=sine(9.0), shown=GREYS), {"eye": extractors()["eye"]}
    broken = tmp_path / "b.mkv"
    broken.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_PCM/INT/XXX"))  # a codec that nobody knows
    with pytest.raises(MediaError, match=r"b\.mkv"):
        live(broken, pool, optional=True)
    for one in (path, broken):
        expected = extracted(one, tmp_path / "store", only_eye)["eye"]
        found = live(one, pool, only_eye).stretch(0, None)()["eye"]
        np.testing.assert_array_equal(found.values, expected.values)
        assert (found.begin, found.stop) == (expected.begin, pytest.approx(expected.stop, abs=1e-4))


def test_a_stream_that_is_missing_is_an_error_or_left_out(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    blind = write(tmp_path / "sound.mkv", sound=sine(1.0))
    mute = write(tmp_path / "video.mkv", shown=GREYS)
    for path in (blind, mute):
        with pytest.raises(MissingStreamError, match=path.name):
            live(path, pool)
    assert set(live(blind, pool, optional=True).stretch(0, None)()) == {"logmel", "ear"}
    seen = live(mute, pool, optional=True)
    part = seen.stretch(0, None)()
    assert set(part) == {"eye"}
    only_eye = {"eye": extractors()["eye"]}
    expected = extracted(mute, tmp_path / "store", only_eye)["eye"]
    np.testing.assert_array_equal(part["eye"].values, expected.values)
    np.testing.assert_array_equal(live(mute, pool, only_eye).stretch(0, None)()["eye"].values, expected.values)
    with pytest.raises(MissingStreamError):
        live(blind, pool, only_eye, optional=True)  # it has nothing that the model takes
