"""Fusion of pretrained features: sizes, arithmetic, absent streams, and the banks that bring all streams onto one grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from avsed.config import Config, ModelConfig, TrainingConfig, load_config
from avsed.data.bank import FeatureBank
from avsed.data.clips import clip_grid, make_bank, spectral_length
from avsed.errors import ConfigError
from avsed.features.options import LOGMEL
from avsed.features.sequence import FeatureSequence
from avsed.features.standardise import Standardiser
from avsed.model.batch import Batch, join
from avsed.model.crnn import Crnn, parameter_count
from avsed.model.fusion import Fusion, Reduced, hide
from avsed.training.step import MeanTeacher

DIMS = {LOGMEL: 128, "vggish": 128, "vgg16": 4096}
SETTINGS = {  # Table 3: sizes of the auditory and the visual part, and whether there is a CNN
    "spectral": (0, 0, True),
    "spectral+visual": (0, 4, True),
    "spectral+auditory": (16, 0, True),
    "spectral+auditory+visual": (16, 4, True),
    "visual": (0, 16, False),
    "auditory": (64, 0, False),
    "auditory+visual": (64, 16, False),
}
SMALL = ModelConfig(channels=(4, 8), pools=((2, 2), (2, 4)), hidden=6)
EAR, EYE = "vggish", "efficientnet-lite0"
PRETRAINED = {EAR: Reduced(5, 3), EYE: Reduced(7, 2)}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(*, spectral: bool = True, learned: bool = False) -> Crnn:
    bands = 8 if spectral else None
    return Crnn(SMALL, classes=3, bands=bands, pretrained=PRETRAINED, learned=learned)


def embeddings(clips: int, frames: int) -> dict[str, torch.Tensor]:
    return {name: torch.randn(clips, frames, shape.dims) for name, shape in PRETRAINED.items()}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_seven_settings_have_the_paper_s_sizes(setting: str) -> None:
    auditory, visual, cnn = SETTINGS[setting]
    config = load_config(None, [f"inputs={setting}"])
    model = Crnn.configured(config, classes=10, dims=DIMS)
    assert config.reduced == {n: s for n, s in (("vggish", auditory), ("vgg16", visual)) if s}
    assert (model.convolutions is not None) == cnn
    convolutions = 540_528 if cnn else 0  # weights and batch norms of the seven blocks
    inputs = 128 * cnn + auditory + visual
    gru = 2 * 3 * 128 * (inputs + 128 + 2) + 2 * 3 * 128 * (256 + 128 + 2)
    reduction = (128 + 1) * auditory + (4096 + 1) * visual
    assert parameter_count(model) == convolutions + gru + reduction + (256 + 1) * 10
    frames = 151
    batch = Batch(
        torch.randn(1, 4 * frames, 128) if cnn else None,
        {name: torch.randn(1, frames, DIMS[name]) for name in config.reduced},
    )
    with torch.inference_mode():
        output = model.eval()(batch)
    assert output.frames.shape == (1, frames, 10)


def test_other_sizes_and_extractors_can_be_named() -> None:
    config = load_config(None, ["inputs=efficientnet-lite0+logmel+aisfx", "fusion.sizes={aisfx: 5}"])
    assert config.streams == (LOGMEL, "aisfx", "efficientnet-lite0")  # the order in which they are laid side by side
    assert config.reduced == {"aisfx": 5, "efficientnet-lite0": 4}
    assert load_config(None, ["inputs=spectral+auditory", "fusion.auditory=efficientat"]).reduced == {"efficientat": 16}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inputs=spectral+visul", "did you mean"),
        ("inputs=auditory+vggish", "each once"),
        ("inputs=[]", "at least one"),
        ("fusion.visual=vggish", "visual must be one of"),
        ("fusion.sizes={vgg: 3}", "no pretrained extractor"),
        ("fusion.sizes={vgg16: 0}", "greater than or equal"),
        ("extractors.efficientnet-lite0.images_per_second=0", "greater than 0"),
        ("extractors.efficientat.size=mn03", "mn04"),
    ],
)
def test_wrong_inputs_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_fusion_is_linear_relu_and_concatenation() -> None:
    fusion = Fusion(4, PRETRAINED, dropout=0.33, learned=False).eval()
    spectral, batch = torch.randn(2, 6, 4), Batch(None, embeddings(2, 6))
    found = fusion(spectral, batch)
    for clip in range(2):
        for frame in range(6):
            parts = [spectral[clip, frame].tolist()]
            for name in PRETRAINED:
                weight, bias = fusion.layers[name].weight.tolist(), fusion.layers[name].bias.tolist()
                row = batch.embeddings[name][clip, frame].tolist()
                sums = [
                    b + sum(w * x for w, x in zip(ws, row, strict=True)) for ws, b in zip(weight, bias, strict=True)
                ]
                parts.append([max(0.0, s) for s in sums])
            expected = [value for part in parts for value in part]
            assert found[clip, frame].tolist() == pytest.approx(expected, abs=1e-5)


def test_dropout_takes_reduced_features_only() -> None:
    fusion = Fusion(50, {EAR: Reduced(3, 50)}, dropout=0.33, learned=False).train()
    with torch.no_grad():
        fusion.layers[EAR].weight.zero_()
        fusion.layers[EAR].bias.fill_(1.0)
    found = fusion(torch.ones(4, 500, 50), Batch(None, {EAR: torch.zeros(4, 500, 3)}))
    assert (found[:, :, :50] == 1).all()
    reduced = found[:, :, 50:]
    kept = reduced > 0
    assert kept.float().mean() == pytest.approx(0.67, abs=0.01)
    assert reduced[kept].unique().tolist() == pytest.approx([1 / 0.67])


@pytest.mark.parametrize("spectral", [True, False])
def test_a_clip_scores_alone_as_in_a_batch(spectral: bool) -> None:
    model = small(spectral=spectral).eval()
    lengths = torch.tensor([24, 9, 17, 1])
    spectra = torch.randn(4, 24, 8)
    rows = embeddings(4, 6)
    for clip, length in enumerate(lengths.tolist()):
        spectra[clip, length:] = 0
        for values in rows.values():
            values[clip, -(-length // 4) :] = 0
    with torch.inference_mode():
        together = model(Batch(spectra if spectral else None, rows, lengths))
        for clip, length in enumerate(lengths.tolist()):
            frames = -(-length // 4)
            alone = model(
                Batch(
                    spectra[clip : clip + 1, : 4 * frames] if spectral else None,
                    {name: values[clip : clip + 1, :frames] for name, values in rows.items()},
                    lengths[clip : clip + 1],
                )
            )
            torch.testing.assert_close(alone.frames[0], together.frames[clip, :frames], atol=1e-5, rtol=0)
            torch.testing.assert_close(alone.clips[0], together.clips[clip], atol=1e-5, rtol=0)


def test_what_is_learned_stands_in_the_place_of_absent_streams() -> None:
    model = small(learned=True).eval()
    with torch.no_grad():
        for vector in model.fusion.absent.values():
            vector.normal_()
    spectra, rows = torch.randn(2, 8, 8), embeddings(2, 2)
    present = torch.tensor([[True, True, False], [False, True, True]])
    with torch.inference_mode():
        found = model(Batch(spectra, rows, None, present))
        # Whatever lies in the place of an absent stream, it changes nothing.
        rows[EYE][0], spectra[1] = 99.0, 0.0
        again = model(Batch(spectra, rows, None, present))
        everything = model(Batch(spectra, rows, None, None))
    torch.testing.assert_close(found.frames, again.frames)
    assert not torch.allclose(found.frames, everything.frames)
    fused = model.fusion(torch.zeros(2, 2, 8), Batch(spectra, rows, None, present))
    assert torch.equal(fused[0, 0, -2:], model.fusion.absent[EYE])
    assert torch.equal(fused[1, 0, :8], model.fusion.absent[LOGMEL])
    with pytest.raises(ValueError, match="learned nothing"):
        small()(Batch(spectra, rows, None, present))


def test_hidden_streams_are_as_frequent_as_asked_for_and_never_all() -> None:
    there = torch.ones(20_000, 3, dtype=torch.bool)
    there[:5000, 2] = False  # these clips have two streams
    there[:100, 1] = False  # and these a single one
    batch = Batch(None, {EAR: torch.zeros(20_000, 1, 1)}, None, there)
    kept = hide(batch, 3, 0.3).present
    assert kept is not None
    assert kept.any(1).all()
    assert not (kept & ~there).any()
    assert kept[:100, 0].all()
    assert 1 - kept[5000:].float().mean() == pytest.approx(
        0.3 - 0.3**3, abs=0.01
    )  # less those that would have lost all
    assert hide(batch._replace(present=None), 3, 0.0).present is not None


def test_batches_of_unlike_lengths_and_streams_join() -> None:
    rows = [embeddings(2, 2), embeddings(1, 5)]
    spectra = [torch.randn(2, 8, 8), torch.randn(1, 20, 8)]
    there = torch.tensor([[True, False, True]])
    both = join(
        [Batch(spectra[0], rows[0], None, None), Batch(spectra[1], rows[1], torch.tensor([18]), there)], time_pool=4
    )
    assert both.lengths is not None and both.lengths.tolist() == [8, 8, 18]
    assert both.present is not None and both.present.tolist() == [[True] * 3, [True] * 3, [True, False, True]]
    assert both.spectra is not None and both.spectra.shape == (3, 20, 8)
    assert torch.equal(both.spectra[:2, :8], spectra[0]) and not both.spectra[:2, 8:].any()
    assert torch.equal(both.embeddings[EYE][:2, :2], rows[0][EYE])
    plain = join([Batch(None, rows[0]), Batch(None, embeddings(3, 2))], time_pool=4)
    assert plain.lengths is None and plain.clips == 5


def sequence(seconds: float, period: float, dims: int, *, begin: float = 0.0, seed: int = 0) -> FeatureSequence:
    times = begin + np.arange(0.5 * period, max(seconds, period), period)
    values = np.random.default_rng(seed).normal(size=(len(times), dims)).astype(np.float16)
    return FeatureSequence(values, times, begin, begin + seconds)


def clips(config: Config, lengths: list[float]) -> list[dict[str, FeatureSequence]]:
    found = []
    for number, seconds in enumerate(lengths):
        begin = 0.1 * number  # streams that start late
        rows = round(seconds * config.features.rate) // config.features.hop + 1
        spectra = np.random.default_rng(number).normal(size=(rows, 8)).astype(np.float32)
        found.append(
            {
                LOGMEL: FeatureSequence.regular(spectra, config.features, begin=begin, duration=seconds),
                EAR: sequence(seconds, 0.06, 5, begin=begin, seed=number),
                EYE: sequence(seconds, 0.2, 7, begin=begin, seed=number),
            }
        )
    return found


def configured(inputs: str = "spectral+vggish+efficientnet-lite0", **fusion: str) -> Config:
    config = load_config(None, [f"inputs={inputs}", *(f"fusion.{key}={value}" for key, value in fusion.items())])
    features = config.features.model_copy(update={"bands": 8})
    return config.model_copy(update={"model": SMALL, "features": features})


def bank_of(data: list[dict[str, FeatureSequence]], config: Config, *, resident: bool) -> FeatureBank:
    identity = Standardiser(mean=np.zeros(8, np.float32), deviation=np.ones(8, np.float32))
    dims: Mapping[str, int] = {LOGMEL: 8, EAR: 5, EYE: 7}
    device = torch.device("cpu")
    return make_bank(data, config, dims=dims, standardiser=identity, device=device, resident=resident)


@pytest.mark.parametrize("inputs", ["spectral+vggish+efficientnet-lite0", "vggish+efficientnet-lite0"])
@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_holds_the_row_nearest_to_each_frame(resident: bool, inputs: str) -> None:
    config = configured(inputs)
    data = clips(config, [2.0, 0.3, 1.1])
    del data[2][EYE]
    batch = bank_of(data, config, resident=resident).gather(np.array([2, 0, 1]))
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [data[n][LOGMEL].rows for n in (2, 0, 1)]
    assert batch.present is not None and batch.present.all(1).tolist() == [False, True, True]
    for row, clip in enumerate([data[2], data[0], data[1]]):
        grid = clip_grid({n: s for n, s in clip.items() if n in config.streams}, config)
        assert grid.count == -(-clip[LOGMEL].rows // 4)
        if batch.spectra is not None:
            assert torch.equal(batch.spectra[row, : clip[LOGMEL].rows], torch.from_numpy(clip[LOGMEL].values))
        for name in (EAR, EYE):
            found = batch.embeddings[name][row]
            assert found.dtype == torch.float32
            assert not found[grid.count if name in clip else 0 :].any()
            if name not in clip:
                continue
            for frame, centre in enumerate(grid.centres):
                nearest = int(np.argmin(np.abs(clip[name].times - centre)))
                assert torch.equal(found[frame], torch.from_numpy(clip[name].values[nearest]).float())


@pytest.mark.parametrize("resident", [True, False])
def test_a_stream_that_no_clip_of_a_bank_has_is_absent(resident: bool) -> None:
    config = configured(missing="learned")
    data = [{name: own for name, own in clip.items() if name != EYE} for clip in clips(config, [1.0, 2.0])]
    batch = bank_of(data, config, resident=resident).gather(np.array([1, 0]))
    assert batch.embeddings[EYE].shape == (*batch.embeddings[EAR].shape[:2], 7)
    assert batch.present is not None and batch.present.tolist() == [[True, True, False]] * 2


def test_frames_are_the_same_with_and_without_spectra() -> None:
    both, ears = configured(), configured("vggish")
    for clip in clips(both, [10.0, 9.999, 0.05, 366 / 22_100, 3.21]):
        assert spectral_length({EAR: clip[EAR]}, ears) == spectral_length(clip, both)
        np.testing.assert_allclose(
            clip_grid({EAR: clip[EAR]}, ears).boundaries, clip_grid(clip, both).boundaries, atol=1e-9
        )


def test_alignment_by_number_is_an_option() -> None:
    config = configured(alignment="index")
    data = clips(config, [2.0])
    batch = bank_of(data, config, resident=True).gather(np.array([0]))
    rows = data[0][EAR].rows
    frames = batch.embeddings[EAR].shape[1]
    expected = data[0][EAR].values[np.minimum(np.arange(frames), rows - 1)].astype(np.float32)
    np.testing.assert_array_equal(batch.embeddings[EAR][0].numpy(), expected)


def test_rows_too_large_for_half_precision_stay_as_they_are() -> None:
    config = configured("vggish")
    data = clips(config, [1.0, 1.0])
    large = FeatureSequence(data[1][EAR].values.astype(np.float32) * 1e6, data[1][EAR].times, 0.1, 1.1)
    data[1][EAR] = large
    kept, streamed = (bank_of(data, config, resident=r).gather(np.array([0, 1])) for r in (True, False))
    assert torch.equal(kept.embeddings[EAR], streamed.embeddings[EAR])
    assert kept.embeddings[EAR].abs().max() > 65_504


def test_a_model_learns_from_all_streams_and_to_do_without() -> None:
    config = configured(missing="learned")
    data = clips(config, [1.0, 0.7, 1.2, 0.9, 1.1])
    del data[1][EYE], data[3][LOGMEL]
    bank = bank_of(data, config, resident=True)
    model = Crnn.configured(config, classes=3, dims={EAR: 5, EYE: 7})
    trainer = MeanTeacher(model, TrainingConfig(steps=40, ramp=0, learning_rate=0.02), seed=0, stream_dropout=0.2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    tags = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    losses = [float(trainer.step(n, bank.gather(np.arange(5)), tags).tagging) for n in range(40)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert set(model.fusion.absent) == {LOGMEL, EAR, EYE}
