"""Augmentation: each kind against its definition, what each network sees, and that all of it follows from seed and step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsed.config import ModelConfig, TrainingConfig, load_config
from avsed.errors import ConfigError
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn
from avsed.model.fusion import Reduced
from avsed.training.augmentation import (
    NEPERS,
    Augmentation,
    draw_gains,
    draw_masks,
    draw_mixes,
    draw_shifts,
    mix,
    shift,
)
from avsed.training.options import AugmentationConfig, FiltersConfig, MasksConfig, MixupConfig, ShiftConfig
from avsed.training.step import MeanTeacher

EVERYTHING = AugmentationConfig(
    shift=ShiftConfig(frames=3),
    mixup=MixupConfig(probability=0.8),
    filters=FiltersConfig(bands=(2, 3), width=2),
    masks=MasksConfig(times=2, time=2, band=3),
)
LENGTHS = torch.tensor([24, 9, 17, 3, 24, 12])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def example(*, spectral: bool = True, lengths: torch.Tensor | None = LENGTHS) -> Batch:
    """Six clips of up to 24 spectral frames of 8 bands, and an ear's rows for up to 6 model frames, which number the frames."""
    real = torch.arange(24) < (torch.full((6,), 24) if lengths is None else lengths)[:, None]
    spectra = torch.randn(6, 24, 8) * real[:, :, None]
    ear = torch.arange(6.0).view(1, 6, 1) + 10 * torch.arange(1.0, 7).view(6, 1, 1)
    return Batch(spectra if spectral else None, {"ear": ear * real[:, ::4, None]}, lengths)


def augmentation(config: AugmentationConfig, seed: int = 5) -> Augmentation:
    return Augmentation(config, time_pool=4, seed=seed, deviation=np.full(8, 2, np.float32))


def equal(one: Batch, other: Batch) -> bool:
    alike = [torch.equal(x, other.embeddings[name]) for name, x in one.embeddings.items()]
    for a, b in ((one.spectra, other.spectra), (one.lengths, other.lengths), (one.present, other.present)):
        alike.append(a is b or (a is not None and b is not None and torch.equal(a, b)))
    return all(alike)


def test_what_is_off_gives_back_what_it_was_given() -> None:
    nothing, batch, tags = augmentation(AugmentationConfig()), example(), torch.rand(2, 3)
    moved, same, targets = nothing.moved(3, batch, tags, None)
    assert moved is batch and same is tags and targets is None
    assert all(view is batch for view in nothing.views(3, batch))


def test_a_step_follows_from_seed_and_number_alone() -> None:
    batch, tags, targets = example(), torch.rand(3, 2), torch.rand(1, 6, 2)

    def step(number: int, seed: int) -> tuple[Batch, ...]:
        torch.rand(7)  # whatever else draws
        np.random.default_rng().random()
        whole = augmentation(EVERYTHING, seed)
        moved, mixed, framed = whole.moved(number, batch, tags, targets)
        assert framed is not None
        return *whole.views(number, moved), Batch(framed, {"tags": mixed})

    assert all(equal(a, b) for a, b in zip(step(4, 5), step(4, 5), strict=True))
    assert not any(equal(a, b) for a, b in zip(step(4, 5), step(5, 5), strict=True))
    assert not any(equal(a, b) for a, b in zip(step(4, 5), step(4, 6), strict=True))


@pytest.mark.parametrize("teacher", ["same", "own", "plain"])
def test_each_network_sees_what_was_asked_for(teacher: str) -> None:
    config = EVERYTHING.model_copy(update={"teacher": teacher})
    batch = example()
    student, other = augmentation(config).views(2, batch)
    assert not equal(student, batch)
    assert equal(student, other) == (teacher == "same")
    assert equal(other, batch) == (teacher == "plain")
    assert torch.equal(student.embeddings["ear"], batch.embeddings["ear"])  # filters and masks are of spectra alone
    for view in (student, other):
        real = torch.arange(24) < LENGTHS[:, None]
        assert view.spectra is not None and not view.spectra[~real].any()  # padding stays zero
    without = example(spectral=False)
    assert all(view is without for view in augmentation(config).views(2, without))


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["padded", "full"])
def test_a_shift_moves_all_streams_and_targets_by_whole_frames(circular: bool, lengths: torch.Tensor | None) -> None:
    batch, by = example(lengths=lengths), np.array([2, -1, 1, 0, -3, 1])
    targets = torch.rand(2, 6, 3)  # of clips 1 and 2
    found, moved = shift(batch, targets, by, first=1, time_pool=4, circular=circular)
    assert found.lengths is batch.lengths and moved is not None
    assert found.spectra is not None and batch.spectra is not None
    for clip in range(6):
        whole = 6 if lengths is None else int(lengths[clip]) // 4
        for frame in range(6):
            source = frame - int(by[clip])
            inside = 0 <= source < whole
            if frame >= whole:  # what is no whole frame, and padding
                source, inside = frame, True
            elif circular:
                source, inside = source % whole, True
            for before, after, size in (
                (batch.spectra[clip], found.spectra[clip], 4),
                (batch.embeddings["ear"][clip], found.embeddings["ear"][clip], 1),
                *([(targets[clip - 1], moved[clip - 1], 1)] if clip in (1, 2) else []),
            ):
                expected = before[size * source : size * source + size] if inside else torch.zeros(size, after.shape[1])
                assert torch.equal(after[size * frame : size * frame + size], expected), (clip, frame)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(1, 60), st.integers(0, 99))
def test_shifts_are_at_most_as_asked_for_and_half_the_clip(frames: list[int], most: int, seed: int) -> None:
    count = np.array(frames)
    by = draw_shifts(np.random.default_rng(seed), count, ShiftConfig(frames=most))
    assert (np.abs(by) <= np.minimum(most, count // 2)).all()
    many = draw_shifts(np.random.default_rng(seed), np.full(4000, 300), ShiftConfig(frames=most))
    assert {-most, most} <= set(many.tolist())


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=3, max_size=3), st.integers(0, 99))
def test_clips_are_mixed_within_their_part(parts: list[int], seed: int) -> None:
    partners, shares = draw_mixes(np.random.default_rng(seed), tuple(parts), MixupConfig(probability=0.5))
    begin = 0
    for count in parts:
        assert sorted(partners[begin : begin + count].tolist()) == list(range(begin, begin + count))
        begin += count
    assert len(shares) == begin and ((shares >= 0) & (shares <= 1)).all()


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_no_clip_is_its_own_partner_but_one_that_is_alone(count: int) -> None:
    pairs = set()
    for seed in range(100):
        partners, _ = draw_mixes(np.random.default_rng(seed), (2, count), MixupConfig())
        assert sorted(partners) == list(range(2 + count))
        pairs |= set(enumerate((partners[2:] - 2).tolist()))
    assert pairs == ({(0, 0)} if count == 1 else {(i, j) for i in range(count) for j in range(count) if i != j})


def test_filters_change_no_draw_of_the_masks() -> None:
    batch, masks = example(), MasksConfig(time=3, band=3)
    hidden = []
    for filters in (None, FiltersConfig(bands=(1, 1), width=1, gain=1e-6)):
        seen, _ = augmentation(AugmentationConfig(masks=masks, filters=filters)).views(3, batch)
        hidden.append(seen.spectra == 0)
    assert hidden[0].equal(hidden[1]) and hidden[0].any()


def test_half_of_the_clips_are_mixed_by_shares_of_the_beta_distribution() -> None:
    _, shares = draw_mixes(np.random.default_rng(0), (20_000, 0, 0), MixupConfig(probability=0.5, alpha=0.2))
    drawn = shares[shares < 1]
    assert len(drawn) / len(shares) == pytest.approx(
        0.5, abs=0.06
    )  # in single precision some shares are 1 to the last digit
    everything = draw_mixes(np.random.default_rng(0), (20_000, 0, 0), MixupConfig(probability=1, alpha=0.2))[1]
    assert everything.mean() == pytest.approx(0.5, abs=0.01)
    assert everything.var() == pytest.approx(0.25 / (2 * 0.2 + 1), abs=0.01)


@pytest.mark.parametrize("either", [True, False])
def test_a_mix_is_the_sum_of_two_clips_and_as_long_as_the_longer(either: bool) -> None:
    batch = example()
    tags = torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    targets = torch.rand(2, 6, 2)  # of clips 1 and 2
    partners, shares = np.array([0, 2, 1, 5, 3, 4]), np.array([0.3, 0.25, 1, 0.5, 1, 0.6], np.float32)
    found, mixed, framed = mix(batch, tags, targets, partners, shares, either=either, time_pool=4)
    assert found.lengths is not None and found.lengths.tolist() == [24, 17, 17, 12, 24, 24]
    assert batch.spectra is not None and found.spectra is not None and framed is not None
    for clip, (partner, share) in enumerate(zip(partners, shares.tolist(), strict=True)):
        for before, after in ((batch.spectra, found.spectra), (batch.embeddings["ear"], found.embeddings["ear"])):
            torch.testing.assert_close(after[clip], share * before[clip] + (1 - share) * before[partner])
    assert torch.equal(found.spectra[2], batch.spectra[2])  # not mixed
    assert mixed.tolist() == ([[1, 0], [0, 1], [0, 0]] if either else [[1, 0], [0, 0.25], [0, 0]])
    both = torch.maximum(targets[0], targets[1]) if either else 0.25 * targets[0] + 0.75 * targets[1]
    torch.testing.assert_close(framed, torch.stack([both, targets[1]]))
    full, *_ = mix(example(lengths=None), tags, None, partners, shares, either=either, time_pool=4)
    assert full.lengths is None


def test_a_stream_that_one_of_two_clips_lacks_is_the_other_s() -> None:
    present = torch.tensor([[True, True], [False, True], [True, False], [True, True], [False, True], [True, False]])
    batch = example(lengths=None)._replace(present=present)
    shares = np.array([0.4, 0.4, 0.4, 1, 1, 0.4], np.float32)
    partners = np.array([1, 0, 1, 2, 5, 5])
    found, *_ = mix(batch, torch.zeros(6, 2), None, partners, shares, either=False, time_pool=4)
    assert found.present is not None and found.spectra is not None and batch.spectra is not None
    assert found.present.tolist() == [
        [True, True],
        [True, True],
        [True, True],
        [True, True],
        [False, True],
        [True, False],
    ]
    x, ear = batch.spectra, batch.embeddings["ear"]
    assert torch.equal(found.spectra[0], x[0])  # clip 1 has no spectra
    assert torch.equal(found.spectra[1], x[0])
    assert torch.equal(found.embeddings["ear"][2], ear[1])
    torch.testing.assert_close(found.embeddings["ear"][1], 0.4 * ear[1] + 0.6 * ear[0])
    torch.testing.assert_close(found.spectra[5], x[5])


@settings(max_examples=50)
@given(
    st.sampled_from(["step", "linear"]),
    st.integers(1, 6),
    st.integers(0, 4),
    st.integers(1, 9),
    st.integers(1, 128),
    st.integers(0, 99),
)
def test_gains_lie_in_their_range_and_change_where_stretches_meet(
    kind: Any, fewest: int, more: int, width: int, bands: int, seed: int
) -> None:
    config = FiltersConfig(kind=kind, bands=(fewest, fewest + more), width=width, gain=6)
    gains = draw_gains(np.random.default_rng(seed), 3, bands, config)
    assert gains.shape == (3, bands) and (np.abs(gains) <= 6).all()
    if kind == "step":
        for row in gains:
            edges = np.array([0, *np.flatnonzero(np.diff(row)) + 1, bands])
            assert len(edges) - 1 <= fewest + more
            assert np.diff(edges).min() >= min(width, bands)
            assert len(edges) - 1 >= min(fewest, max(1, bands // width))
    else:
        assert (np.abs(np.diff(gains, axis=1)) <= 12 / min(width, bands) + 1e-9).all()


def test_a_filter_is_a_gain_of_the_magnitudes_behind_the_log_mel_map() -> None:
    config = AugmentationConfig(filters=FiltersConfig(bands=(2, 4), width=1, gain=10))
    deviation, mean = np.linspace(0.5, 3, 8, dtype=np.float32), np.linspace(-4, 2, 8)
    one = Augmentation(config, time_pool=4, seed=1, deviation=deviation)
    batch = example(lengths=None)
    seen, _ = one.views(0, batch)
    assert batch.spectra is not None and seen.spectra is not None
    magnitudes = [np.exp(x.spectra.double().numpy() * deviation + mean) for x in (batch, seen)]
    decibels = 20 * np.log10(magnitudes[1] / magnitudes[0])
    np.testing.assert_allclose(decibels, decibels[:, :1] + np.zeros((6, 24, 8)), atol=1e-3)  # the same in all frames
    assert np.abs(decibels).max() <= 10 + 1e-3 and np.abs(decibels).max() > 3
    assert pytest.approx(20 * np.log10(np.e)) == 1 / NEPERS
    with pytest.raises(ValueError, match="deviation"):
        Augmentation(config, time_pool=4, seed=1).views(0, batch)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 3), st.integers(1, 30), st.integers(0, 99))
def test_masks_are_whole_frames_and_at_most_half_of_a_clip(
    frames: list[int], number: int, most: int, seed: int
) -> None:
    config = MasksConfig(times=number, time=most, bands=1, band=3)
    count = np.array(frames)
    times, bands = draw_masks(np.random.default_rng(seed), count, length=60, bands=8, config=config)
    hidden = (~times).sum(1)
    assert (hidden <= number * np.minimum(most, count // 2)).all()
    assert all(row[own:].all() for row, own in zip(times, count, strict=True))
    assert ((~bands).sum(1) <= 3).all()
    for row in bands:  # one stretch
        assert np.abs(np.diff(row.astype(int))).sum() <= 2


def test_a_mask_hides_all_spectral_frames_of_a_model_frame() -> None:
    config = AugmentationConfig(masks=MasksConfig(times=1, time=3, bands=1, band=4))
    batch = Batch(torch.ones(200, 24, 8))
    seen, _ = augmentation(config).views(0, batch)
    assert seen.spectra is not None
    blocks = seen.spectra.view(200, 6, 4, 8)
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))
    by_time = (blocks[:, :, 0].sum(2) == 0).sum(1)
    assert sorted(set(by_time.tolist())) == [0, 1, 2, 3]


@pytest.mark.parametrize("spectral", [True, False])
def test_networks_with_pretrained_streams_learn_from_augmented_clips(spectral: bool) -> None:
    options = ModelConfig(channels=(4, 8), pools=((2, 2), (2, 4)), hidden=6)
    ear = {"ear": Reduced(1, 3)}
    model = Crnn(options, classes=2, bands=8 if spectral else None, pretrained=ear, learned=spectral)
    config = TrainingConfig(augmentation=EVERYTHING)
    trainer = MeanTeacher(model, config, seed=0, stream_dropout=0.3, deviation=np.ones(8, np.float32))
    present = torch.ones(6, 2, dtype=torch.bool)
    present[4, 0] = present[1, 1] = False
    batch = example(spectral=spectral)._replace(present=present if spectral else None)
    targets = torch.rand(1, 6, 2) * (torch.arange(6) < 5)[None, :, None]
    losses = [trainer.step(number, batch, torch.rand(3, 2), targets) for number in range(3)]
    assert all(torch.stack([x for x in loss if x is not None]).isfinite().all() for loss in losses)


def test_filters_that_do_not_fit_are_named() -> None:
    with pytest.raises(
        ConfigError, match="5 stretches of at least 64 bands are more than 128 bands; lower bands or width"
    ):
        load_config(None, ["training.augmentation.filters={bands: [5, 5], width: 64}"])


def test_sections_are_switched_on_by_naming_them() -> None:
    assert load_config().training.augmentation == AugmentationConfig()
    found = load_config(None, ["training.augmentation.mixup={}", "training.augmentation.masks.times=2"])
    assert found.training.augmentation == AugmentationConfig(mixup=MixupConfig(), masks=MasksConfig(times=2))
    with pytest.raises(
        ConfigError, match=r"unknown key 'training\.augmentation\.mixup\.alfa' \(did you mean 'alpha'\?\)"
    ):
        load_config(None, ["training.augmentation.mixup.alfa=1"])
    with pytest.raises(ConfigError, match="fewest and the most stretches, got 5 and 2"):
        load_config(None, ["training.augmentation.filters.bands=[5, 2]"])
