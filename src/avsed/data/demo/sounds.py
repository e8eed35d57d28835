"""Ten domestic sounds made by rule: each class has its own mechanism, each event its own random pitch, rate and timbre.

Every function takes the number of samples, the sample rate and a generator, and returns float64 samples with a peak of 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Sound = Callable[[int, int, np.random.Generator], np.ndarray]


def speech(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Syllables: glottal pulses of a wandering pitch through two or three moving formants, with hissing consonants between."""
    pitch = random.uniform(90, 240) * (1 + 0.12 * _wander(n, rate, 3.0, random))
    source = _harmonics(pitch, rate, range(1, 31), lambda k: 1 / k)
    result = np.zeros(n)
    position = 0
    while position < n:
        length = min(n - position, int(rate * random.uniform(0.12, 0.28)))
        part = slice(position, position + length)
        formants = [(random.uniform(300, 850), 90), (random.uniform(900, 2300), 130), (random.uniform(2400, 3200), 200)]
        vowel = np.sum([_resonance(source[part], rate, f, w) for f, w in formants], axis=0)
        result[part] += _peak(vowel) * _envelope(length, rate, 0.03, 0.06)
        if random.random() < 0.5:
            hiss = min(n - position, int(rate * random.uniform(0.04, 0.09)))
            noise = _band(random.normal(size=hiss), rate, 3500, 8000)
            result[position : position + hiss] += 0.25 * _peak(noise) * _envelope(hiss, rate, 0.01, 0.02)
        position += length + int(rate * random.uniform(0.01, 0.08))
    return _peak(result)


def dog(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Barks: short harsh harmonic bursts whose pitch jumps up and falls."""
    base = random.uniform(280, 620)
    result = np.zeros(n)
    position = 0
    while position < n:
        length = min(n - position, int(rate * random.uniform(0.12, 0.22)))
        t = np.linspace(0, 1, length)
        pitch = base * random.uniform(0.9, 1.1) * (0.75 + 0.6 * np.sin(np.pi * t**0.6))
        bark = _harmonics(pitch, rate, range(1, 13), lambda k: 1 / k**0.7)
        rough = 0.5 * _band(random.normal(size=length), rate, 500, 3500)
        result[position : position + length] += (_peak(bark) + 0.4 * _peak(rough)) * _envelope(length, rate, 0.01, 0.08)
        position += length + int(rate * random.uniform(0.12, 0.4))
    return _peak(result)


def cat(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A meow: a long harmonic glide up and down, its formant opening and closing."""
    result = np.zeros(n)
    position = 0
    while position < n:
        length = min(n - position, int(rate * random.uniform(0.6, 1.1)))
        t = np.linspace(0, 1, length)
        pitch = (
            random.uniform(480, 720) * (1 + 0.45 * np.sin(np.pi * t) ** 1.5) * (1 + 0.01 * np.sin(2 * np.pi * 7 * t))
        )
        opening = np.sin(np.pi * t)
        meow = sum(
            np.exp(-(((k * pitch) - (900 + 1500 * opening)) ** 2) / (2 * 700**2)) * np.sin(k * _phase(pitch, rate))
            for k in range(1, 9)
        )
        result[position : position + length] += _peak(meow) * _envelope(length, rate, 0.08, 0.2)
        position += length + int(rate * random.uniform(0.2, 0.6))
    return _peak(result)


def alarm(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A bell or a beeper: two high tones in turn, or one that is switched on and off."""
    tones = random.uniform(1400, 3200) * np.array([1.0, random.choice([1.0, 1.19, 1.25])])
    speed = random.uniform(4, 11)
    t = np.arange(n) / rate
    turn = (t * speed).astype(int) % 2
    frequency = tones[turn]
    gate = np.where(tones[0] == tones[1], turn, 1)
    sound = _harmonics(frequency, rate, (1, 2, 3), lambda k: 1 / k**1.5)
    return _peak(sound * _smooth(gate.astype(float), int(0.004 * rate)))


def dishes(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Clinks: sudden inharmonic partials that die away, in irregular clusters."""
    result = np.zeros(n)
    position = int(rate * random.uniform(0, 0.03))
    while position < n:
        length = min(n - position, int(rate * random.uniform(0.15, 0.35)))
        t = np.arange(length) / rate
        base = random.uniform(1100, 2600)
        for ratio in (1.0, 1.51, 2.33, 2.87, 3.71):
            decay = random.uniform(18, 45)
            result[position : position + length] += (
                random.uniform(0.3, 1.0) / ratio * np.exp(-decay * t) * np.sin(2 * np.pi * base * ratio * t)
            )
        knock = min(length, int(0.006 * rate))
        result[position : position + knock] += 0.8 * random.normal(size=knock) * np.linspace(1, 0, knock)
        position += int(rate * random.choice([random.uniform(0.05, 0.15), random.uniform(0.2, 0.5)]))
    return _peak(result)


def frying(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Sizzling: a dense rain of tiny high clicks over a bright hiss."""
    clicks = np.zeros(n)
    count = max(1, int(n / rate * random.uniform(250, 500)))
    clicks[random.integers(0, n, count)] = random.exponential(1.0, count) * random.choice([-1, 1], count)
    hiss = _band(random.normal(size=n), rate, 4000, 0.48 * rate)
    crackle = _band(clicks, rate, 2000, 0.48 * rate)
    return _peak(np.tanh(3 * crackle / np.abs(crackle).max()) + random.uniform(0.15, 0.3) * _peak(hiss))


def blender(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A fast motor that runs up: buzzing harmonics, roughened by what is chopped, and a whine."""
    t = np.arange(n) / rate
    speed = random.uniform(150, 230) * (1 - 0.5 * np.exp(-t / 0.25)) * (1 + 0.03 * _wander(n, rate, 5.0, random))
    buzz = _harmonics(speed, rate, range(1, 25), lambda k: 1 / k**0.5)
    chop = 1 + 0.6 * _wander(n, rate, 18.0, random)
    noise = _band(random.normal(size=n), rate, 800, 5000)
    whine = np.sin(_phase(speed * random.uniform(11.0, 14.0), rate))
    return _peak(_peak(buzz) * chop + 0.35 * _peak(noise) * chop + 0.25 * whine)


def running_water(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A tap: a soft broad rush with slow swells, and bubbles: short tones that slide up."""
    rush = _band(random.normal(size=n), rate, 250, random.uniform(2200, 3200)) * (
        1 + 0.25 * _wander(n, rate, 2.0, random)
    )
    result = 0.6 * _peak(rush)
    for _ in range(int(n / rate * random.uniform(8, 16))):
        length = int(rate * random.uniform(0.02, 0.05))
        begin = int(random.integers(0, max(1, n - length)))
        length = min(length, n - begin)
        t = np.arange(length) / rate
        tone = np.sin(2 * np.pi * (random.uniform(500, 1300) * t + 6000 * t**2)) * np.exp(-60 * t)
        result[begin : begin + length] += random.uniform(0.2, 0.6) * tone
    return _peak(result)


def vacuum_cleaner(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A steady roar: wide noise falling towards high frequencies, over the hum of a motor."""
    roar = _tilt(random.normal(size=n), rate, -4.0)
    hum = _harmonics(np.full(n, random.choice([100.0, 120.0])), rate, (1, 2, 3, 4, 6, 8), lambda k: 1 / k)
    whistle = np.sin(_phase(np.full(n, random.uniform(2200, 3400)), rate)) * 0.06
    start = 1 - np.exp(-np.arange(n) / rate / 0.15)
    return _peak((_peak(roar) + 0.35 * _peak(hum) + whistle) * start)


def shaver(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A thin buzz: narrow pulses at the mains' pace or twice it, louder and softer as it touches the skin."""
    pace = random.choice([50.0, 60.0, 100.0, 120.0]) * random.uniform(0.98, 1.02)
    buzz = _harmonics(np.full(n, pace), rate, range(1, int(5500 / pace)), lambda k: 1.0)
    touch = 1 + 0.5 * _wander(n, rate, 3.0, random)
    return _peak(_band(buzz, rate, 700, 5000) * touch + 0.2 * buzz)


SOUNDS: dict[str, Sound] = {
    "Alarm_bell_ringing": alarm,
    "Blender": blender,
    "Cat": cat,
    "Dishes": dishes,
    "Dog": dog,
    "Electric_shaver_toothbrush": shaver,
    "Frying": frying,
    "Running_water": running_water,
    "Speech": speech,
    "Vacuum_cleaner": vacuum_cleaner,
}


def background(n: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A room: noise whose spectrum falls by 3 to 9 dB an octave, with slow swells; peak 1."""
    return _peak(_tilt(random.normal(size=n), rate, random.uniform(-9, -3)) * (1 + 0.2 * _wander(n, rate, 0.5, random)))


def _peak(x: np.ndarray) -> np.ndarray:
    return x / max(float(np.abs(x).max(initial=0.0)), 1e-9)


def _phase(frequency: np.ndarray, rate: int) -> np.ndarray:
    return 2 * np.pi * np.cumsum(frequency) / rate


def _harmonics(
    frequency: np.ndarray, rate: int, numbers: range | tuple[int, ...], weight: Callable[[int], float]
) -> np.ndarray:
    """Sines at multiples of a frequency (n,), those above 0.45 of the rate left out."""
    phase = _phase(frequency, rate)
    highest = float(frequency.max(initial=0.0))
    return sum((weight(k) * np.sin(k * phase) for k in numbers if k * highest < 0.45 * rate), np.zeros(len(frequency)))


def _filter(x: np.ndarray, gain: Callable[[np.ndarray], np.ndarray], rate: int) -> np.ndarray:
    size = 1 << max(4, (len(x) - 1).bit_length())  # a power of two: fast
    spectrum = np.fft.rfft(x, size)
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(size, 1 / rate)), size)[: len(x)]


def _band(x: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    return _filter(x, lambda f: 1 / (1 + (low / np.maximum(f, 1.0)) ** 6) / (1 + (f / high) ** 6), rate)


def _resonance(x: np.ndarray, rate: int, centre: float, width: float) -> np.ndarray:
    return _filter(x, lambda f: 1 / np.sqrt(1 + ((f - centre) / width) ** 2), rate)


def _tilt(x: np.ndarray, rate: int, db_per_octave: float) -> np.ndarray:
    return _filter(x, lambda f: np.maximum(f, 60.0) ** (db_per_octave / 6.02) * (f > 30), rate)


def _smooth(x: np.ndarray, length: int) -> np.ndarray:
    return x if length < 2 else np.convolve(x, np.full(length, 1 / length), mode="same")


def _wander(n: int, rate: int, speed: float, random: np.random.Generator) -> np.ndarray:
    """A smooth random curve within about ±1 that turns some ``speed`` times a second."""
    knots = random.normal(size=max(2, int(n / rate * speed) + 2))
    return np.clip(np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots), -1.5, 1.5) / 1.5


def _envelope(n: int, rate: int, attack: float, release: float) -> np.ndarray:
    t = np.arange(n) / rate
    return np.minimum(1, t / attack) * np.minimum(1, (n / rate - t) / release)
