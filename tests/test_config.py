"""The configuration: YAML, overrides, errors that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsed.config import Config, DataConfig, TrainingConfig, load_config
from avsed.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = load_config(None, ["training.steps=500", "data.root=x/y", "seed=3", "training.ramp=10"])
    config.save(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert (config.training.steps, config.data.root, config.seed) == (500, Path("x/y"), 3)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("training: {steps: 7, weak_batch: 3}\n")
    config = load_config(tmp_path / "c.yaml", ["training.steps=9"])
    assert (config.training.steps, config.training.weak_batch) == (9, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.step=5", r"unknown key 'training\.step' \(did you mean 'steps'\?\)"),
        ("trainin.steps=5", r"unknown key 'trainin' \(did you mean 'training'\?\)"),
        ("training.steps=many", r"training\.steps: .*integer.*got 'many'"),
        ("training.steps=0", r"training\.steps: .*greater than or equal to 1, got 0"),
        ("postprocessing.median_filter=4", "must be odd, got 4"),
        ("fusion.auditory=vgg16", r"fusion: auditory must be one of vggish, .*, got 'vgg16'$"),
        ("features.bands=64", r"features\.bands is 64"),
        ("seed", "expected KEY=VALUE"),
        ("seed.x.y=1", "seed"),
        ("training.steps=[", "not valid YAML"),
        ("seed=2018-13-45", "--set seed=2018-13-45: not valid YAML: month"),
        ("metrics.segment=!!int x", "--set metrics.segment=!!int x: not valid YAML"),
        ("metrics.segment=!!timestamp x", "not valid YAML"),
        ("metrics.segment=1e-9", r"metrics\.segment: .*greater than or equal to 0\.001"),
        ("metrics.onset_collar=.nan", r"metrics\.onset_collar: .*finite number"),
        ("model.pools=[[0, 128]]", r"model\.pools\.0\.0: .*greater than or equal to 1, got 0"),
        ("model.channels=[0]", r"model\.channels\.0: .*greater than or equal to 1, got 0"),
        ("model={channels: [], pools: []}", "a number of channels and a pool for each convolution, got 0 and 0"),
        ("data.splits.weak.tabel=x", r"unknown key 'data\.splits\.weak\.tabel' \(did you mean 'table'\?\)"),
    ],
)
def test_errors_name_the_key_and_what_was_expected(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_a_section_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("training:\ndata:\nthreads:\n")
    assert load_config(tmp_path / "c.yaml") == Config()
    assert load_config(tmp_path / "c.yaml", ["training.steps=3"]).training.steps == 3
    with pytest.raises(ConfigError, match=r"seed: .*got None"):
        load_config(None, ["seed="])


def test_a_located_configuration_means_the_same_everywhere() -> None:
    assert load_config(None, ["data.root=x/y"]).located().data.root == Path.cwd() / "x/y"
    assert Config().located() == Config()
    weights = load_config(None, ["extractors.vgg16.weights=x/a.pt", "extractors.efficientnet-lite0.weights=~/b.pt"])
    assert weights.located().extractors.vgg16.weights == Path.cwd() / "x/a.pt"
    assert weights.located().extractors.efficientnet_lite0.weights == Path.home() / "b.pt"


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "training: 5\n", "seed: 2018-13-45\n"])
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_config(tmp_path / "absent.yaml")


def test_the_paper_s_configuration_is_the_default() -> None:
    assert load_config(CONFIGS / "paper.yaml") == Config(data=DataConfig(sources=("DCASE 2018 task 4", "AudioSet")))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid_and_keeps_the_architecture(path: Path) -> None:
    config = load_config(path)
    assert config.model == Config().model
    assert config.features == Config().features


@pytest.mark.parametrize("name", ["gated", "transformer", "conformer", "augmented"])
def test_the_other_configurations_change_what_they_are_named_after_alone(name: str) -> None:
    config, usual = load_config(CONFIGS / f"encoders/{name}.yaml"), load_config(CONFIGS / "avscenes.yaml")
    keys = {
        "gated": "model.convolution: paper -> gated",
        "transformer": "model.sequence: gru -> transformer",
        "conformer": "model.sequence: gru -> conformer",
    }
    if name in keys:
        assert usual.differences(config) == [keys[name]]
        return
    augmentation = config.training.augmentation
    assert all(getattr(augmentation, section) is not None for section in type(augmentation).model_fields)
    sections = {section: {} for section in ("shift", "mixup", "filters", "masks")}
    written = TrainingConfig.model_validate({"augmentation": sections})
    assert augmentation == written.augmentation  # what the file says is what an empty section means


def test_other_lengths_keep_the_paper_s_proportions() -> None:
    config = load_config(None, ["training.steps=500"]).training
    assert config.ramp_steps == 125
    assert config.step_decay == pytest.approx(0.99995**100)
    assert config.step_average == pytest.approx(0.999**100)
    given = load_config(None, ["training.steps=500", "training.ramp=0", "training.average=0.5"]).training
    assert (given.ramp_steps, given.step_average) == (0, 0.5)
