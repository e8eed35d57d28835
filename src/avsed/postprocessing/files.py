"""Post-processing in a file of its own: the configuration, and what it was tuned on.

::

    postprocessing: {threshold: {default: 0.5, Dog: 0.31}, …}   as in a run's configuration
    tuned:                                                       absent if it was written by hand
      split: validation
      fingerprint: {clips: 80, sha256: 88e5555a…}
      for: event_macro_f1
      …
      clips: 1b2f9c0a 77d01e5c …                               a mark of each clip, see `mark_clips`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from avsed.data.folder import Split
from avsed.errors import ConfigError, nearest
from avsed.files import write_text
from avsed.postprocessing.options import PostprocessingConfig, make_postprocessing

ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Preset:
    """A named way from scores to tags and events. tuned : what it was tuned on; empty if it was not."""

    name: str
    config: PostprocessingConfig
    tuned: Mapping[str, Any] = field(default_factory=dict)

    def about(self, clips: Sequence[str]) -> dict[str, Any]:
        """What a result says of it; clips : marks of those that are scored, as in ``tuned["clips"]``.

        ``tuned_on_these_clips`` is how many of them it was tuned on.
        """
        told = {name: value for name, value in self.tuned.items() if name != "clips"}
        shared = len(set(clips) & set(str(self.tuned.get("clips", "")).split()))
        return {"name": self.name, "tuned": told or None, "tuned_on_these_clips": shared}

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        values = {"postprocessing": self.config.model_dump(mode="json"), "tuned": dict(self.tuned)}
        write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def mark_clips(split: Split) -> list[str]:
    """Eight letters of a hash of each clip's name and events, sorted: what is tuned on is known again in any company."""
    return sorted(
        hashlib.sha256(json.dumps([name, labelled]).encode()).hexdigest()[:8] for name, labelled in named_events(split)
    )


def named_events(split: Split) -> Iterator[tuple[str, tuple[tuple[float, float, str], ...]]]:
    """Each clip's name and its events, sorted and to the microsecond."""
    events = split.events or {}
    for clip in split.clips:
        own = ((round(e.onset, 6), round(e.offset, 6), e.label) for e in events.get(clip.name, ()))
        yield clip.name, tuple(sorted(own))


def describe(told: Mapping[str, Any], clips: int) -> str:
    """What `Preset.about` says, in a line; marked if some of the clips that were scored are among those that were tuned on."""
    tuned, shared = told["tuned"], told["tuned_on_these_clips"]
    if tuned is None:
        return f"post-processing {told['name']}"
    mark = tuned.get("fingerprint", {})
    where = f"{tuned.get('split')} ({mark.get('clips')} clips, labels {str(mark.get('sha256'))[:12]})"
    line = (
        f"post-processing {told['name']}: {' and '.join(tuned.get('what', ()))} tuned on {where} for {tuned.get('for')}"
    )
    which = "these very clips" if shared >= clips else f"{shared} of these very clips"
    return f"{line}: NOT A TEST, it was tuned on {which}" if shared else line


def find_preset(given: str | Path, folder: Path) -> Preset:
    """Post-processing by name, of a file in ``folder``, or the file's path.

    Raises ConfigError if there is none, or the file is not as it should be.
    """
    path = Path(given)
    if path.suffix in ENDINGS:
        return read_preset(path)
    path = folder / f"{check_name(str(given))}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        told = f"there are {', '.join(known)}" if known else "there is none yet: 'avsed tune' makes one"
        raise ConfigError(f"{folder}: no post-processing {str(given)!r}{nearest(str(given), known)}; {told}")
    return read_preset(path)


def read_preset(path: Path) -> Preset:
    """Read what `Preset.write` wrote, or what somebody wrote by hand."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror or error}") from error
    except Exception as error:  # what Python says of a date or a tagged value passes through PyYAML
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    tuned = values.get("tuned") or {} if isinstance(values, dict) else None
    if not isinstance(values, dict) or set(values) - {"postprocessing", "tuned"} or not isinstance(tuned, dict):
        raise ConfigError(f"{path}: expected the sections 'postprocessing' and 'tuned'")
    config = make_postprocessing(values.get("postprocessing") or {}, source=f"{path}: postprocessing")
    return Preset(path.stem, config, tuned)


def check_name(name: str) -> str:
    """A name that a file may have.

    Raises ConfigError if it has not.
    """
    if not name or name[0] == "." or not all(letter.isalnum() or letter in "._-+" for letter in name):
        raise ConfigError(f"{name!r}: a name of letters, digits and ._-+ was expected, or the path of a .yaml file")
    return name
