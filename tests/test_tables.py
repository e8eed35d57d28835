"""Tables of labels: what is read, what is written, what is wrong."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avsed.annotations import Event
from avsed.errors import AnnotationError, AvsedError
from avsed.tables import (
    Problem,
    check_labels,
    labels_of,
    read_clips,
    read_durations,
    read_events,
    read_tags,
    table_kind,
    write_clips,
    write_durations,
    write_events,
    write_tags,
)

HEADER = "filename\tonset\toffset\tevent_label\n"
NAMES = (
    st.text(string.ascii_letters + "äö _-.,()", min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool)
    .filter(lambda n: n != "filename")
)
LABELS = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
EVENTS = st.tuples(st.integers(0, 9_000), st.integers(0, 9_000), LABELS).map(
    lambda x: Event(x[0] / 1000, (x[0] + x[1]) / 1000, x[2])
)


def table(folder: Path, text: str, name: str = "table.tsv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.dictionaries(NAMES, st.lists(EVENTS, max_size=4, unique=True).map(sorted), min_size=1, max_size=5))
def test_events_come_back_as_written(tmp_path: Path, events: dict[str, list[Event]]) -> None:
    write_events(tmp_path / "e.tsv", events)
    problems: list[Problem] = []
    assert read_events(tmp_path / "e.tsv", problems=problems) == events
    assert all(problem.severity == "warning" for problem in problems)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.dictionaries(NAMES, st.frozensets(LABELS, max_size=4), min_size=1, max_size=5))
def test_tags_clips_and_durations_come_back_as_written(tmp_path: Path, tags: dict[str, frozenset[str]]) -> None:
    write_tags(tmp_path / "t.tsv", tags)
    assert read_tags(tmp_path / "t.tsv") == tags
    write_clips(tmp_path / "c.tsv", tags)
    assert read_clips(tmp_path / "c.tsv") == list(tags)
    durations = {name: len(name) / 8 for name in tags}
    write_durations(tmp_path / "d.tsv", durations)
    assert read_durations(tmp_path / "d.tsv") == durations


@pytest.mark.parametrize(
    "text",
    [
        "filename\tonset\toffset\tevent_label\na.wav\t1.0\t2.5\tDog\nb.wav\t\t\t\n",
        "filename\tonset\toffset\tevent_label\r\na.wav\t1.0\t2.5\tDog\r\n\r\nb.wav\t\t\t\r\n",
        "\ufefffilename,onset,offset,event_label\na.wav,1.0,2.5,Dog\nb.wav,,,\n",
        "event_label\tfilename\tmore\toffset\tonset\nDog\ta.wav\tx\t2.5\t1\n\tb.wav\t\t\t\n",
        "a.wav\t1.0\t2.5\tDog\nb.wav\t\t\t\n",
        "filename\tonset\toffset\tevent_label\na.wav \t 1.0\t2.5\t Dog\nb.wav",
    ],
    ids=[
        "tabs",
        "CRLF and blank lines",
        "commas and BOM",
        "other order, more columns",
        "no header",
        "spaces, fields left out",
    ],
)
def test_strong_tables_of_many_forms(tmp_path: Path, text: str) -> None:
    assert read_events(table(tmp_path, text)) == {"a.wav": [Event(1.0, 2.5, "Dog")], "b.wav": []}


def test_weak_tables_with_tabs_or_commas(tmp_path: Path) -> None:
    expected = {"a.wav": {"Cat", "Dog"}, "b.wav": {"Dog"}, "c.wav": set()}
    assert read_tags(table(tmp_path, "filename\tevent_labels\na.wav\tDog,Cat\nb.wav\tDog\nc.wav\t\n")) == expected
    assert read_tags(table(tmp_path, 'filename,event_labels\na.wav,"Dog, Cat"\nb.wav,Dog\nc.wav,\n')) == expected


def test_kinds_are_told_by_the_header(tmp_path: Path) -> None:
    assert table_kind(table(tmp_path, HEADER)) == "strong"
    assert table_kind(table(tmp_path, "filename\tevent_labels\n")) == "weak"
    assert table_kind(table(tmp_path, "filename\n")) == "clips"
    assert table_kind(table(tmp_path, "filename\tduration\n")) == "durations"
    assert table_kind(table(tmp_path, "filename\tduration\tevent_labels\n")) == "weak"
    assert table_kind(table(tmp_path, "a.wav\t1.0\t2.5\tDog\n")) == "strong"
    assert table_kind(table(tmp_path, "b.wav\t\t\t\na.wav\t1.0\t2.5\tDog\n")) == "strong"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("filename event_label", r"no column 'event_labels' \(did you mean 'event_label'\?\)"),
        ("filename event_lable", r"no column 'event_labels' \(did you mean 'event_lable'\?\)"),
        ("filename labels", r"no column 'event_labels' \(did you mean 'labels'\?\)"),
        ("filename onset offset event_lable", r"no column 'event_label' \(did you mean 'event_lable'\?\)"),
        ("filename onset offset event_labels", r"no column 'event_label' \(did you mean 'event_labels'\?\)"),
        ("filename onset event_label", r"no column 'offset' .*expected filename, onset, offset, event_label"),
        ("filenames onset offset event_label", r"found .* \(did you mean 'filenames'\?\)"),
    ],
)
def test_columns_that_are_nearly_right_are_errors(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"table\.tsv:1: .*{message}"):
        table_kind(table(tmp_path, columns.replace(" ", "\t") + "\n"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a\t2\t1\tDog", r"t\.tsv:2: a: the event ends \(1 s\) before it begins \(2 s\)"),
        ("a\t-1\t1\tDog", r"t\.tsv:2: a: the onset -1 must be"),
        ("a\tone\t1\tDog", r"t\.tsv:2: a: the onset 'one' is not a number"),
        ("a\tnan\t1\tDog", r"t\.tsv:2: a: the onset nan must be a finite number"),
        ("a\t1\tinf\tDog", r"t\.tsv:2: a: the offset inf must be"),
        ("a\t1\t1e12\tDog", r"t\.tsv:2: a: the offset 1e12 is more than 10 million seconds; is it milliseconds or"),
        ("a\t1\t2\t", r"t\.tsv:2: a: times without a label"),
        ("\t1\t2\tDog", r"t\.tsv:2: no file name"),
        ("a\t1\t2\tDog\tmore", r"t\.tsv:2: 5 fields in a table of 4 columns"),
        ("a\t1\t2\tDog\na\t\t\t", r"t\.tsv:3: a: a row without an event, but other rows have events"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read_events(table(tmp_path, HEADER + row + "\n", "t.tsv"))


def test_all_errors_are_collected_and_the_first_are_shown(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + "".join(f"c{n}\t2\t1\tDog\n" for n in range(9)) + "good\t0\t1\tDog\n")
    problems: list[Problem] = []
    assert read_events(path, problems=problems)["good"] == [Event(0, 1, "Dog")]
    assert [problem.line for problem in problems] == list(range(2, 11))
    with pytest.raises(AnnotationError, match="and 4 more errors"):
        read_events(path)


def test_warnings_name_file_and_line_and_keep_the_rows(tmp_path: Path) -> None:
    rows = ["a\t0\t2\tDog", "a\t0\t2\tDog", "a\t1\t3\tDog", "a\t1\t3\tCat", "a\t9\t11\tCat", "b\t1000\t9000\tDog"]
    problems: list[Problem] = []
    events = read_events(
        table(tmp_path, HEADER + "\n".join(rows) + "\n"), durations={"a": 10.0, "b": 10.0}, problems=problems
    )
    assert len(events["a"]) == 4
    said = {(p.severity, p.line): p.message for p in problems}
    assert set(said) == {("warning", 3), ("warning", 4), ("warning", 6), ("warning", 7)}
    assert "the same event as in line 2; dropped" in said["warning", 3]
    assert "Dog at 1 s begins before the one at 0 s has ended" in said["warning", 4]
    assert "ends at 11 s, but the clip at 10 s" in said["warning", 6]
    assert "milliseconds" in said["warning", 7]


def test_the_same_event_twice_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + 2 * "a\t0\t2\tDog\n")
    problems: list[Problem] = []
    assert read_events(path) == {"a": [Event(0, 2, "Dog")]}
    assert read_events(path, duplicates="keep", problems=problems) == {"a": 2 * [Event(0, 2, "Dog")]}
    assert [(p.line, p.message) for p in problems] == [(3, "a: the same event as in line 2; kept")]


@pytest.mark.parametrize(
    ("function", "text", "message"),
    [
        (
            read_tags,
            "filename\tevent_label\na\tDog\n",
            r":1: no column 'event_labels' \(did you mean 'event_label'\?\)",
        ),
        (read_events, "file\tonset\tend\na\t1\t2\n", r":1: expected a header with the column 'filename'"),
        (read_clips, "", "the table is empty"),
        (read_tags, "filename\tevent_labels\na\tDog\na\tCat\n", ":3: a stands twice with different labels"),
        (read_durations, "filename\tduration\na\tlong\n", ":2: a: the duration 'long' is not a number"),
    ],
)
def test_a_wrong_table_says_what_was_expected(tmp_path: Path, function: object, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"table\.tsv.*{message}|table\.tsv{message}"):
        function(table(tmp_path, text))  # type: ignore[operator]


def test_unreadable_tables_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.tsv").write_bytes("filename\nM\xfcller.wav\n".encode("latin-1"))
    with pytest.raises(AnnotationError, match=r"latin\.tsv: not UTF-8"):
        read_clips(tmp_path / "latin.tsv")
    with pytest.raises(AnnotationError, match=r"absent\.tsv: cannot read"):
        read_clips(tmp_path / "absent.tsv")
    with pytest.raises(AnnotationError, match="must not hold tabs"):
        write_clips(tmp_path / "x.tsv", ["a\tb"])
    with pytest.raises(AvsedError, match=r"x\.tsv: cannot be written, its line 'caf.udce9\.wav' is not UTF-8"):
        write_clips(tmp_path / "x.tsv", ["a", "caf\udce9.wav"])
    assert not (tmp_path / "x.tsv").exists()


def test_a_long_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"results\.json:1: field larger than .*is this a table"):
        read_events(table(tmp_path, '{"events":[' + "0" * 200_000, "results.json"))
    with pytest.raises(AnnotationError, match=r"results\.json:1: expected a header.{,150}$"):
        read_events(table(tmp_path, "0" * 10_000, "results.json"))


def test_unknown_labels_come_with_their_line_and_the_nearest_known_one(tmp_path: Path) -> None:
    weak = table(tmp_path, "filename\tevent_labels\na\tDog\nb\tDog,people_talking\n" + "c\tCow\n", "weak.tsv")
    problems: list[Problem] = []
    check_labels(read_tags(weak), ["people talking", "Dog"], weak, problems=problems)
    assert [(problem.line, problem.message) for problem in problems] == [
        (
            3,
            "b: unknown label 'people_talking' (did you mean 'people talking'?); "
            "known labels: Dog, people talking (data.labels sets them)",
        ),
        (4, "c: unknown label 'Cow'"),
    ]
    strong = table(tmp_path, HEADER + "a\t0\t1\tDog\na\t1\t2\tCow\n" + "a\t2\t3\tCow\n", "strong.tsv")
    with pytest.raises(AnnotationError, match=r"^\S*strong\.tsv:3: a: unknown label 'Cow'; known labels: Dog \(.*\)$"):
        check_labels(labels_of(read_events(strong)), ["Dog"], strong)


def test_the_real_annotations_of_dcase_2018_are_read(shared: Path) -> None:
    folder = shared / "dcase2018_task4"
    assert len(read_tags(folder / "metadata/train/weak.csv")) == 1578
    assert len(read_clips(folder / "metadata/train/unlabel_in_domain.csv")) == 14412
    assert len(read_clips(folder / "metadata/test/files_to_remove.csv")) == 46
    assert len(read_events(folder / "metadata/test/test.csv")) == 288
    assert len(read_events(folder / "metadata/eval/eval.csv")) == 880
    assert len(read_events(folder / "baseline_system_on_eval.csv")) == 875
