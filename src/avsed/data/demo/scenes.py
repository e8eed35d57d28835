"""A small data set of videos made by rule: ten domestic classes, each heard and drawn, with the tables of a DCASE task.

What sounds is mixed at random times over a noisy room; most sounding objects are on screen while they sound, some never, and now and
then something silent is shown. Each clip comes from a generator seeded with (seed, split, number) alone, so that the set does not
depend on how many processes wrote it, and a set that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from avsed.annotations import Event
from avsed.data.demo.drawings import backdrop, paste, sprite
from avsed.data.demo.sounds import SOUNDS, background
from avsed.errors import AvsedError
from avsed.files import leftovers, remove_leftovers, write_json
from avsed.media.writing import write_clip
from avsed.tables import labels_of, write_clips, write_durations, write_events, write_tags

LABELS = tuple(sorted(SOUNDS))
SHORT = {
    "Alarm_bell_ringing": (0.8, 2.5),
    "Cat": (0.7, 2.0),
    "Dishes": (0.5, 2.0),
    "Dog": (0.4, 1.8),
    "Speech": (0.8, 2.8),
}
LONG = (1.8, 6.0)  # seconds of the other classes, cut to the clip
SHOWN = 0.75  # share of sounding objects that are on screen
DISTRACTOR = 0.15  # share of clips with something silent on screen
SILENT = 0.03  # share of clips in which nothing sounds
SHORTER = 0.08  # share of clips that are shorter than the others
VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """What a demo data set is like.

    seed : of everything; clips : number of clips in each split; duration : seconds of a clip
    rate : samples per second; fps : images per second; size : (height, width) of the images, even
    """

    seed: int = 0
    clips: tuple[tuple[str, int], ...] = (("weak", 120), ("unlabeled", 120), ("validation", 40), ("test", 60))
    duration: float = 5.0
    rate: int = 32000
    fps: int = 10
    size: tuple[int, int] = (96, 128)


@dataclass(frozen=True)
class Scene:
    """A clip before it is drawn and mixed: its length and events in seconds, and what is on screen from when to when."""

    duration: float
    events: tuple[Event, ...]
    shown: tuple[Event, ...]


def compose(recipe: Recipe, split: str, number: int) -> tuple[Scene, np.random.Generator]:
    """Decide what happens in a clip; the generator goes on to make its sounds and pictures."""
    splits = [name for name, _ in recipe.clips]
    random = np.random.default_rng([recipe.seed, VERSION, splits.index(split), number])
    duration = recipe.duration
    if random.random() < SHORTER:
        duration = round(recipe.duration * random.uniform(0.4, 0.9), 2)
    events: list[Event] = []
    if random.random() >= SILENT:
        for label in random.choice(LABELS, random.choice([1, 2, 3], p=[0.45, 0.4, 0.15]), replace=False).tolist():
            for _ in range(random.choice([1, 2], p=[0.7, 0.3]) if label in SHORT else 1):
                length = min(random.uniform(*SHORT.get(label, LONG)), duration)
                onset = random.uniform(0, duration - length)
                event = Event(round(onset, 3), round(onset + length, 3), label)
                if all(
                    e.label != label or e.offset + 0.2 < event.onset or event.offset + 0.2 < e.onset for e in events
                ):
                    events.append(event)
    shown = []
    for label in sorted({event.label for event in events}):
        if random.random() < SHOWN:
            own = [event for event in events if event.label == label]
            always = random.random() < 0.5  # on screen all the time, or only while it sounds
            shown += [Event(0.0, duration, label)] if always else own
    if random.random() < DISTRACTOR:
        shown.append(Event(0.0, duration, random.choice(LABELS).item()))
    return Scene(duration, tuple(sorted(events)), tuple(shown)), random


def mix(scene: Scene, rate: int, random: np.random.Generator) -> np.ndarray:
    """The sound of a scene: events over a room that is 16 to 32 dB below full scale. float32 (samples,), peak at most 0.9."""
    count = round(scene.duration * rate)
    sound = background(count, rate, random) * 10 ** (-random.uniform(16, 32) / 20)
    for event in scene.events:
        begin, stop = round(event.onset * rate), min(count, round(event.offset * rate))
        own = SOUNDS[event.label](stop - begin, rate, random)
        fade = np.minimum(1, np.minimum(np.arange(1, len(own) + 1), np.arange(len(own), 0, -1)) / (0.01 * rate))
        sound[begin:stop] += own * fade * 10 ** (-random.uniform(0, 9) / 20)
    return (sound * random.uniform(0.3, 0.9) / np.abs(sound).max()).astype(np.float32)


def film(scene: Scene, fps: int, size: tuple[int, int], random: np.random.Generator) -> Iterator[np.ndarray]:
    """The pictures of a scene: objects tremble while they sound. Yields uint8 (height, width, 3)."""
    height, width = size
    room = backdrop(height, width, random)
    objects = {}
    for label in sorted({event.label for event in scene.shown}):
        side = int(height * random.uniform(0.4, 0.7))
        place = int(random.integers(0, height - side + 1)), int(random.integers(0, width - side + 1))
        objects[label] = (*sprite(label, side, random), place)
    for number in range(max(1, round(scene.duration * fps))):
        time = (number + 0.5) / fps
        image = room.copy()
        for event in scene.shown:
            if event.onset <= time < event.offset:
                pixels, cover, (top, left) = objects[event.label]
                sounding = any(e.label == event.label and e.onset <= time < e.offset for e in scene.events)
                shake = random.integers(-2, 3, 2) if sounding else (0, 0)
                paste(image, pixels, cover, top + int(shake[0]), left + int(shake[1]))
        yield image


def generate(
    root: str | Path, recipe: Recipe, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the data set into a folder; clips that are there are kept.

    ::

        root/clips/SPLIT/SPLIT_00000.mp4 …
             metadata/SPLIT.tsv, SPLIT_durations.tsv

    progress : called with the number of clips written so far, and of all

    Raises AvsedError if the folder holds a set made by another recipe, or something else.
    """
    root = Path(root)
    manifest = root / "recipe.json"
    described = json.loads(json.dumps({"version": VERSION, **asdict(recipe)}))
    if manifest.is_file():
        if json.loads(manifest.read_text(encoding="utf-8")) != described:
            raise AvsedError(
                f"{root}: holds a demo data set made otherwise ({manifest.name}); give another folder or delete it"
            )
    elif root.is_dir() and set(root.iterdir()) - set(leftovers(root)):
        raise AvsedError(f"{root}: is neither empty nor a demo data set; give another folder")
    else:
        write_json(manifest, described)
    for folder in (root, root / "metadata", *(root / "clips" / split for split, _ in recipe.clips)):
        remove_leftovers(folder)
    tasks = [(root, recipe, split, number) for split, count in recipe.clips for number in range(count)]
    tasks = [task for task in tasks if not _path(*task).is_file()]
    total = sum(count for _, count in recipe.clips)
    done = total - len(tasks)
    if workers == 1 or len(tasks) < 2 * workers:
        for task in tasks:
            _make(task)
            done += 1
            _tell(progress, done, total)
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for _ in pool.map(_make, tasks, chunksize=4):
                done += 1
                _tell(progress, done, total)
    _write_tables(root, recipe)


def _make(task: tuple[Path, Recipe, str, int]) -> None:
    root, recipe, split, number = task
    scene, random = compose(recipe, split, number)
    samples = mix(scene, recipe.rate, random)
    images = film(scene, recipe.fps, recipe.size, random)
    write_clip(_path(root, recipe, split, number), samples=samples, rate=recipe.rate, images=images, fps=recipe.fps)


def _write_tables(root: Path, recipe: Recipe) -> None:
    for split, count in recipe.clips:
        scenes = {_path(root, recipe, split, n).name: compose(recipe, split, n)[0] for n in range(count)}
        events = {name: list(scene.events) for name, scene in scenes.items()}
        table = root / "metadata" / f"{split}.tsv"
        if split == "weak":
            write_tags(table, labels_of(events))
        elif split == "unlabeled":
            write_clips(table, events)
        else:
            write_events(table, events)
        write_durations(root / "metadata" / f"{split}_durations.tsv", {name: s.duration for name, s in scenes.items()})


def _path(root: Path, recipe: Recipe, split: str, number: int) -> Path:
    return root / "clips" / split / f"{split}_{number:05d}.mp4"


def _tell(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
