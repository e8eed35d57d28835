"""Words that several places of a report share: cells of tables, what whiskers mean."""

from __future__ import annotations

from collections.abc import Sequence

from avsed.report.loading import Setting
from avsed.report.numbers import Number

SCORES = (
    "Micro: over all events, segments or clips together; macro: the mean over classes. The collars and the length of a segment stand "
    "above, under comparison."
)
CLASSES = "The number behind a class's name is that of its reference events."
PRECISION_RECALL = (
    "Precision against recall of each class's tags, as the threshold on the clip probability falls; a line is a training. The mark "
    "stands where the threshold of the decisions puts it (none where nothing reaches it)."
)
AVERAGE_PRECISION = " The number behind a class's name is its average precision in percent."
F1_CURVES = (
    "{what} of each class at every threshold, frame scores filtered as for the decisions. The mark stands at the threshold of the "
    "decisions."
)
NOT_SWEEPABLE = (
    "Hysteresis, minimum gaps and minimum durations have no part in the curves: they work on what a threshold has left."
)
PSD_ROC = (
    "PSD-ROC: how many events are found at how many false ones, over all thresholds; PSDS is the area under the curve up to the last rate "
    "shown, divided by that rate. Scenario 1 asks for exact times, scenario 2 not to confuse classes (DCASE 2021 task 4). The ratio is the "
    "mean over classes less their standard deviation, so that it may fall; a line is a training."
)
CONFUSION = (
    "in how many segments of {resolution:g} s the class of the column was detected where that of the row sounds; shades are shares "
    "of the row. A class that sounds and is detected counts on the diagonal. What is missed and what is false in the same segment is "
    "confused: where several are, each pair of them gets an equal part. What is missed beyond that goes to nothing, what is false "
    "beyond it comes from nothing. Rows add up to the segments in which a class sounds, columns to those in which it is detected."
)
ERRORS = (
    "Two events belong together if they are of one class and share at least {share} of the shorter one. Correct: matched within the "
    "collars of the event-based score. Early or late onset or offset, both ends: the two belong to each other alone, but these ends "
    "are out of the collars. Split: several detected events belong to one reference event. Merged: several reference events belong "
    "to one detected event. Wrong label: nothing of its class belongs to it, but an event of another class covers the same time (at "
    "least {share} of what the two cover together). Missed and false: what is left."
)
KINDS_OF_EVENTS = (
    "what became of the reference events of each class (left), and what its detected events are (right). Every event has exactly one "
    "kind; the numbers beside the bars are those of the events."
)
LEARNING = (
    "Losses and learning rate at each step at which they were noted, and scores on validation clips on the way; a line is a training. "
    "Consistency losses are weighted mean squared differences of student and teacher; note their logarithmic axes."
)
TIME_LINES = (
    "Above, the log-mel spectrum, brighter where it is louder. Below, for each class that sounds or was detected: grey bars where it "
    "sounds by the reference, its probability in every frame, and coloured bars where it was detected."
)
WHY = {
    "best": "among the best",
    "worst": "among the worst",
    "random": "drawn at random",
    "chosen": "asked for",
}


def cell(number: Number, percent: bool, mean: bool) -> str:
    """A number as a table shows it."""
    if not number.defined:
        return "–"
    scale, digits = (100, 1) if percent else (1, 3)
    text = f"{scale * number.value:.{digits}f}"
    if number.low is None or number.high is None:
        return text
    if mean:
        return f"{text} ± {scale * (number.high - number.value):.{digits}f}"
    return f"{text} [{scale * number.low:.{digits}f}, {scale * number.high:.{digits}f}]"


def whiskers(settings: Sequence[Setting]) -> str:
    """What whiskers and marks of a figure are."""
    one, several = _kinds(settings)
    single, mean = "whiskers are intervals over clips", "whiskers one standard deviation over trainings"
    if one and several:
        return f"Of one training, {single}; of several, dots are means and {mean}, small open marks the trainings."
    return f"{single.capitalize()}." if one else f"Dots are means and {mean}, small open marks the trainings."


def brackets(settings: Sequence[Setting]) -> str:
    """What stands behind the numbers of a table."""
    one, several = _kinds(settings)
    texts = ["in brackets, intervals over clips"] * one + ["± one standard deviation over trainings"] * several
    text = "; ".join(texts)
    return f"{text[0].upper()}{text[1:]}."


def _kinds(settings: Sequence[Setting]) -> tuple[bool, bool]:
    """Whether there are settings with one training, and with several."""
    counts = [len(one.runs) for one in settings]
    return 1 in counts, max(counts) > 1
