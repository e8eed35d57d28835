"""The report: its mathematics by small examples, and the page of runs that hold every odd name there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import keep_evaluation

from avsed.annotations import Event, Events
from avsed.config import load_config
from avsed.data.folder import events_fingerprint
from avsed.errors import AvsedError, CheckpointError
from avsed.files import write_json, write_text
from avsed.media import write_clip
from avsed.metrics import event_based, segment_based
from avsed.report.choosing import choose_clips, wanted_clips
from avsed.report.confusion import segment_confusion
from avsed.report.curves import f1_at, f1_curves, precision_recall, said_by
from avsed.report.errors import KINDS, Collars, error_kinds
from avsed.report.facts import facts_of
from avsed.report.loading import load_run, load_runs, settings_of
from avsed.report.making import make_report
from avsed.report.numbers import mean_of, numbers_of, thresholds_of
from avsed.report.page import Figure, Table
from avsed.report.sections import Sections
from avsed.report.style import drawing
from avsed.run import Run, versions
from avsed.scores import Scores
from avsed.tables import read_events, write_events, write_tags

LABELS = ("$\\alpha_1$ & 100 %", "</figcaption><script>alert(1)</script>", "Dog_{bark} 'n' \"howl\"", "Ünïcode 犬")
CLIPS = tuple(f"clip <{n}> & co.wav" for n in range(6))
COLLARS = Collars(0.2, 0.2, 0.2)

times = st.integers(0, 40).map(lambda n: n / 10)
some_events = st.lists(
    st.tuples(times, times, st.sampled_from("AB")).map(lambda e: Event(min(e[:2]), max(e[:2]), e[2])), max_size=5
)


def kinds(reference: list[Event], estimated: list[Event]) -> tuple[list[str], list[str]]:
    found = error_kinds({"a": reference}, {"a": estimated}, labels=["A", "B"], collars=COLLARS, share=0.5)
    return [kind for _, kind in found.reference["a"]], [kind for _, kind in found.estimated["a"]]


@pytest.mark.parametrize(
    ("reference", "estimated", "of_reference", "of_estimated"),
    [
        ([(1, 3, "A")], [(1.1, 2.9, "A")], ["correct"], ["correct"]),
        ([(1, 3, "A")], [], ["missed"], []),
        ([], [(1, 3, "A")], [], ["false"]),
        ([(1, 3, "A")], [(1.5, 3, "A")], ["late onset"], ["late onset"]),
        ([(1, 3, "A")], [(0.5, 3, "A")], ["early onset"], ["early onset"]),
        ([(1, 3, "A")], [(1, 2.5, "A")], ["early offset"], ["early offset"]),
        ([(1, 3, "A")], [(1, 3.5, "A")], ["late offset"], ["late offset"]),
        ([(1, 3, "A")], [(1.5, 3.5, "A")], ["both ends"], ["both ends"]),
        ([(0, 4, "A")], [(0, 1.5, "A"), (2.5, 4, "A")], ["split"], ["split", "split"]),
        ([(0, 1.5, "A"), (2.5, 4, "A")], [(0, 4, "A")], ["merged", "merged"], ["merged"]),
        ([(1, 3, "A")], [(1, 3, "B")], ["wrong label"], ["wrong label"]),
        ([(1, 3, "A")], [(1, 3, "B"), (1, 3, "A")], ["correct"], ["false", "correct"]),  # B is no label of A's
        ([(1, 3, "A")], [(2.9, 6, "A")], ["missed"], ["false"]),  # they only touch
        ([(0, 4, "A")], [(0.1, 4, "A"), (1, 2, "A")], ["correct"], ["correct", "split"]),  # found, and once more
        ([(0, 4, "A"), (1, 2, "A")], [(0, 4, "A")], ["correct", "merged"], ["correct"]),
        ([(1, 1, "A")], [(0.5, 2, "A")], ["both ends"], ["both ends"]),  # a moment within
    ],
)
def test_kinds_of_errors(
    reference: list[tuple[float, float, str]],
    estimated: list[tuple[float, float, str]],
    of_reference: list[str],
    of_estimated: list[str],
) -> None:
    assert kinds([Event(*e) for e in reference], [Event(*e) for e in estimated]) == (of_reference, of_estimated)


@settings(max_examples=40)
@given(some_events, some_events)
def test_kinds_of_errors_are_exhaustive_and_agree_with_the_score(
    reference: list[Event], estimated: list[Event]
) -> None:
    found = error_kinds({"a": reference}, {"a": estimated}, labels=["A", "B"], collars=COLLARS, share=0.5)
    held, said = found.counts()
    score = event_based(
        {"a": reference},
        {"a": estimated},
        labels=["A", "B"],
        onset_collar=0.2,
        offset_collar=0.2,
        offset_rate=0.2,
    )
    assert held.sum() == len(reference) and said.sum() == len(estimated)
    assert held[:, 0].tolist() == said[:, 0].tolist() == score.counts.correct[0].tolist()
    alike = [KINDS.index(kind) for kind in ("early onset", "late onset", "early offset", "late offset", "both ends")]
    assert held[:, alike].tolist() == said[:, alike].tolist()
    wrong = KINDS.index("wrong label")
    assert held[:, wrong].sum() == said[:, wrong].sum()
    assert not held[:, KINDS.index("false")].any() and not said[:, KINDS.index("missed")].any()


@settings(max_examples=40)
@given(some_events, some_events)
def test_confusion_adds_up_to_the_segment_based_counts(reference: list[Event], estimated: list[Event]) -> None:
    ref, est = {"a": reference, "b": []}, {"a": estimated, "b": [Event(0, 1, "A")]}
    durations = {"a": 4.0, "b": 2.0}
    table = segment_confusion(ref, est, labels=["A", "B"], resolution=1.0, durations=durations)
    counts = segment_based(ref, est, labels=["A", "B"], resolution=1.0, durations=durations).counts
    assert np.allclose(table[:2].sum(1), counts.reference.sum(0)) and np.allclose(
        table[:, :2].sum(0), counts.estimated.sum(0)
    )
    assert np.allclose(np.diag(table)[:2], counts.correct.sum(0)) and table[2, 2] == 0
    assert np.isclose(table[:2, :2].sum() - np.trace(table), counts.substitutions.sum())
    assert np.isclose(table[:2, 2].sum(), counts.deletions.sum())
    assert np.isclose(table[2, :2].sum(), counts.insertions.sum())


def test_precision_and_recall() -> None:
    curve = precision_recall(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
    assert curve.threshold.tolist() == [0.9, 0.8, 0.1]
    assert curve.at(0.8) == (1.0, pytest.approx(2 / 3)) and curve.at(0.95) is None
    assert np.isnan(precision_recall(np.array([0.5]), np.array([False])).average_precision)


def test_clips_are_chosen_once_and_ties_by_name() -> None:
    scores = {"d": 1.0, "c": 1.0, "b": 0.0, "a": 0.0, "e": 0.5, "f": 0.5, "none": float("nan")}
    chosen = choose_clips(scores, count=2)
    assert chosen[:4] == [("best", "c"), ("best", "d"), ("worst", "a"), ("worst", "b")]
    assert {clip for why, clip in chosen if why == "random"} == {"e", "f"} and chosen == choose_clips(scores, count=2)
    assert len(choose_clips(scores, count=9)) == 6
    assert wanted_clips(["a", "a", "e"], scores) == [("chosen", "a"), ("chosen", "e")]
    with pytest.raises(AvsedError, match="--clips nine: no scored clip of this name"):
        wanted_clips(["nine"], scores)


def make_run(
    folder: Path, data: Path, *, seed: int = 0, inputs: str = "spectral", labels: tuple[str, ...] = LABELS
) -> Path:
    """What a training and 'avsed evaluate' leave, with made-up scores."""
    random = np.random.default_rng(seed)
    run = Run(folder)
    config = load_config(None, [f"seed={seed}", f"inputs={inputs}", f"data.root='{data}'", "metrics.resamples=20"])
    config.save(run.config_file)
    mark = {"clips": len(CLIPS), "sha256": "0" * 64, "left_out": []}
    write_json(
        run.about_file,
        {
            "labels": labels,
            "splits": {"weak": mark},
            "versions": versions(),
            "device": "cpu",
            "steps": 4,
            "seconds": 9.5,
        },
    )
    losses = [{"step": n, "kind": "train", "total": 1 / n, "clip_consistency": 0.01 / n} for n in (1, 2, 3, 4)]
    losses.append({"step": 4, "kind": "validation", "event_macro_f1": 0.25})
    write_text(run.log, "".join(json.dumps(record) + "\n" for record in losses))
    reference: Events = {clip: [] for clip in CLIPS}
    scores = []
    for n, clip in enumerate(CLIPS):
        frames = np.full((20, len(labels)), 0.1, np.float32)
        for column in {n % len(labels), (n + 1) % len(labels)}:
            if n != len(CLIPS) - 1:  # the last one is silent
                reference[clip].append(Event(0.2 * (n % 3), 1.0 + 0.2 * (column % 5), labels[column]))
            frames[2 : 8 + column % 9, column] = 0.2 + 0.8 * random.random(6 + column % 9)
        scores.append(Scores(clip, labels, frames, np.linspace(0, 2, 21), frames.max(0)))
    keep_evaluation(
        run,
        config,
        scores,
        reference,
        dict.fromkeys(CLIPS, 2.0),
        inputs=list(config.inputs),
        versions=versions(),
        extractors={},
        provenance={"ear": {"pretrained_on": ["AudioSet"], "overlap": ["AudioSet"]}},
    )
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trainings of one setting and one of another; the recordings of two clips are there."""
    home = tmp_path_factory.mktemp("home")
    data = home / "data"
    write_tags(data / "metadata/weak.tsv", {"w.wav": LABELS})
    sound = np.sin(np.arange(32000) / 7).astype(np.float32)
    write_clip(data / "clips/weak/w.mp4", samples=sound, rate=16000)
    for clip in CLIPS[:2]:
        write_clip(data / "clips/test" / f"{Path(clip).stem}.mp4", samples=sound, rate=16000)
    made = [
        make_run(home / "runs/spectral $0$", data, seed=0),
        make_run(home / "runs/spectral-1", data, seed=1),
        make_run(home / "runs/other", data, seed=0, inputs="spectral+auditory"),
    ]
    held = Run(made[0]).reference("test").read_text(encoding="utf-8")
    write_text(data / "metadata/test.tsv", held)
    return made


def test_curves_give_the_runs_own_scores_at_its_threshold(runs: list[Path]) -> None:
    run = load_run(runs[0])
    for measure, curves in f1_curves(run, said_by(run)).items():
        told = run.results[measure]["classes"]
        own = [f1_at(curves[label], np.array([0.5]))[0] for label in run.labels]
        assert own == pytest.approx([told[label]["f1"] for label in run.labels]), measure


def test_trainings_of_one_setting_are_told_together(runs: list[Path]) -> None:
    loaded = load_runs(runs)
    first, second = settings_of(loaded)
    assert [len(first.runs), len(second.runs)] == [2, 1]
    assert (first.title, second.title) == ("spectral (2 trainings)", "other")
    both = [numbers_of(run) for run in first.runs]
    values = [own.overall["segment_micro_f1"].value for own in both]
    mean = mean_of(both).overall["segment_micro_f1"]
    assert mean.value == pytest.approx(np.mean(values)) and mean.high == pytest.approx(
        np.mean(values) + np.std(values, ddof=1)
    )
    single = numbers_of(loaded[2]).overall["segment_micro_f1"]
    assert single.low is not None and single.high is not None and single.low <= single.value <= single.high


def test_two_ways_of_deciding_stand_side_by_side(runs: list[Path], tmp_path: Path) -> None:
    run = Run(shutil.copytree(runs[0], tmp_path / "run"))
    results = json.loads(run.results("test").read_bytes())
    tuned = {
        "split": "validation",
        "fingerprint": {"clips": 3, "sha256": "2" * 64},
        "for": "event_macro_f1",
        "what": ["thresholds"],
    }
    results["preset"] = {"name": "tuned", "tuned": tuned, "tuned_on_these_clips": False}
    results["postprocessing"]["threshold"] = {"default": 0.5, LABELS[0]: 0.25}
    write_json(run.results("test.tuned"), results)
    shutil.copy(run.events("test"), run.events("test.tuned"))
    loaded = load_runs([run.folder, run.results("test.tuned")])
    assert [run.name for run in loaded] == ["run", "run test.tuned"]
    assert [len(setting.runs) for setting in settings_of(loaded)] == [1, 1]
    frames, tags = thresholds_of(loaded[1])
    assert frames == tags == {label: 0.25 if label == LABELS[0] else 0.5 for label in LABELS}
    told = facts_of(loaded[1])
    assert "tuned on validation (3 clips" in told["tuned on"] and f"{LABELS[0]} 0.25" in told["decisions"]
    assert facts_of(loaded[0])["tuned on"].startswith("nothing")


class Page(HTMLParser):
    """What a page holds; an error for elements that do not nest."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action") and value:
                self.addresses.append(value)
            if name == "id" and value:
                self.ids.append(value)
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_holds_everything_and_needs_nothing(runs: list[Path], tmp_path: Path) -> None:
    """Written in this process and by the command: the same bytes."""
    made = make_report(runs[:1], tmp_path / "first", clips=[CLIPS[0], CLIPS[-1]])
    chosen = ["--clips", CLIPS[0], "--clips", CLIPS[-1]]
    done = subprocess.run(
        [sys.executable, "-m", "avsed.cli", "report", runs[0], "--out", tmp_path / "second", "--json", *chosen],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["figures"] == list(made.figures) and told["bytes"] == made.size < 5_000_000

    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*"))
    assert len(files) == 1 + 2 * len(made.figures)
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file

    text = made.page.read_text(encoding="utf-8")
    page = Page(text)
    inside = {name for name in page.addresses if not name.startswith(("#", "data:image/png;base64,"))}
    assert inside == {f"figures/{name}.{kind}" for name in made.figures for kind in ("svg", "png")}
    assert "script" not in page.tags and "link" not in page.tags and "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(set(page.ids)) == len(page.ids)
    for section in ("systems", "scores", "classes", "curves", "confusion", "errors", "learning", "clips"):
        assert section in page.ids and f"#{section}" in page.addresses
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    shown = "".join(page.text)
    for name in (*LABELS, CLIPS[0], CLIPS[-1], "spectral $0$", "AudioSet"):
        assert name in shown, name
    assert "no sound could be read of" in shown  # of the last clip there is no recording
    assert "<image" in text  # the first one's spectrum

    drawn = (tmp_path / "first/figures/classes.svg").read_text(encoding="utf-8")
    assert "$\\alpha_1$ &amp; 100 %" in drawn and "<text" in drawn


def test_several_trainings_are_told_by_mean_and_deviation(runs: list[Path], tmp_path: Path) -> None:
    with drawing():
        sections = Sections(load_runs(runs), tmp_path)
        table, figure = sections.scores().parts
    assert isinstance(table, Table) and isinstance(figure, Figure)
    assert list(table.head) == ["", "spectral (2 trainings)", "other"]
    mean, single = table.rows[0][1:]
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", mean) and re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", single)
    assert "spectral (2 trainings)" in figure.svg and (tmp_path / "scores.png").is_file()


def test_what_is_not_evaluated_is_named_with_the_command(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not the folder of a training"):
        make_report([tmp_path], tmp_path / "out")
    (tmp_path / "run").mkdir()
    write_text(tmp_path / "run/config.yaml", (runs[0] / "config.yaml").read_text(encoding="utf-8"))
    with pytest.raises(CheckpointError, match=r"run 'avsed evaluate .*run'"):
        make_report([tmp_path / "run"], tmp_path / "out")
    with pytest.raises(CheckpointError, match="given twice"):
        make_report([runs[0], runs[0]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_of_other_clips_or_classes_are_refused(runs: list[Path], tmp_path: Path) -> None:
    other = make_run(tmp_path / "classes", tmp_path, labels=("A", "B"))
    with pytest.raises(CheckpointError, match="one split and the same classes"):
        load_runs([runs[0], other])
    changed = make_run(tmp_path / "clips", tmp_path)
    results = json.loads(Run(changed).results("test").read_bytes())
    reference = read_events(Run(changed).reference("test"), problems=[])
    reference[CLIPS[0]] = reference[CLIPS[0]][1:]
    write_events(Run(changed).reference("test"), reference, decimals=None)
    results["fingerprint"] = events_fingerprint(reference)
    write_json(Run(changed).results("test"), results)
    with pytest.raises(CheckpointError, match="cannot be compared"):
        load_runs([runs[0], changed])


def test_a_file_in_the_place_of_the_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AvsedError, match=r"--out .*file: is a file; give a folder"):
        make_report([tmp_path / "no run"], tmp_path / "file")
