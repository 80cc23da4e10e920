"""Synthetic collision events for `dv5.ipynb`: two samples of two files each.

    python make_data.py [DIRECTORY] [--small | --scale N]

(default: data; 1,400 events a file, --small 12, --scale N times as many)

An event is a list of particles (transverse momentum in GeV, pseudorapidity, azimuth in radians,
kind), as arrays of all events and the offsets where each begins; beside them a weight, the missing
transverse momentum in GeV, and which triggers fired. In `zjets` a jet has one core, in `hbb` two.
The same seed gives the same bytes with the same numpy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

SEED = 20260514
SAMPLES = {
    "zjets": {"files": ["zjets_1.npz", "zjets_2.npz"], "label": "background"},
    "hbb": {"files": ["hbb_1.npz", "hbb_2.npz"], "label": "signal"},
}
TRIGGERS = {"jet": ["AK8PFJet400", "AK8PFJet500"], "muon": ["IsoMu24", "Mu50"]}
HADRON, ELECTRON, MUON, TAU = 0, 11, 13, 15
Array = np.ndarray


def cone(random: np.random.Generator, count: int, pt: float, axis: Array, width: float) -> Array:
    """Hadrons that share a momentum, around an axis (eta, phi)."""
    share = random.dirichlet(np.full(count, 0.5))
    spread = random.exponential(width, count)[:, None]
    angle = random.uniform(0, 2 * np.pi, count)
    place = axis + spread * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.column_stack([np.maximum(pt * share, 0.2), place, np.full(count, HADRON)])


def event(random: np.random.Generator, signal: bool) -> Array:
    """The particles of one event, a row each."""
    pt, axis = random.uniform(420, 900), random.uniform([-1.8, -np.pi], [1.8, np.pi])
    count = 8 + random.poisson(14)
    if signal:  # the Higgs boson decays into two quarks
        angle, part = random.uniform(0, 2 * np.pi), random.uniform(0.25, 0.75)
        apart = 250 / pt / np.sqrt(part * (1 - part)) * np.array([np.cos(angle), np.sin(angle)])
        first = cone(random, count // 2, pt * part, axis + (1 - part) * apart, 0.05)
        second = cone(random, count - count // 2, pt * (1 - part), axis - part * apart, 0.05)
        parts = [first, second]
    else:
        parts = [cone(random, count, pt, axis, 0.11)]
    soft = random.poisson(12)
    parts.append(
        np.column_stack(
            [
                random.exponential(1.0, soft) + 0.3,
                random.uniform(-2.5, 2.5, soft),
                random.uniform(-np.pi, np.pi, soft),
                np.zeros(soft),
            ]
        )
    )
    chances = {MUON: 0.06 if signal else 0.85, ELECTRON: 0.05, TAU: 0.04}
    for kind, chance in chances.items():
        if random.random() < chance:
            there = random.uniform(-2.3, 2.3), random.uniform(-np.pi, np.pi)
            parts.append(np.array([[random.uniform(15, 130), *there, kind]]))
    found = np.concatenate(parts)
    found[:, 2] = (found[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return found


def sample(seed: int, signal: bool, events: int) -> dict[str, Array]:
    """The columns of one file."""
    random = np.random.default_rng([SEED, seed])
    particles = [event(random, signal) for _ in range(events)]
    rows = np.concatenate(particles)
    triggers = [name for names in TRIGGERS.values() for name in names]
    return {
        "offsets": np.cumsum([0, *map(len, particles)]),
        "pt": rows[:, 0].astype("float32"),
        "eta": rows[:, 1].astype("float32"),
        "phi": rows[:, 2].astype("float32"),
        "kind": rows[:, 3].astype("int8"),
        "weight": random.normal(1.0, 0.05, events).astype("float32"),
        "missing_pt": random.exponential(60.0, events).astype("float32"),
        "triggers": random.random((events, len(triggers))) < 0.6,
    }


def main(directory: Path, events: int) -> None:
    """Write four files of events, which samples they make up, and the triggers."""
    directory.mkdir(parents=True, exist_ok=True)
    seed = 0
    for name, described in SAMPLES.items():
        for file in described["files"]:
            columns = sample(seed, name == "hbb", events)
            np.savez(directory / file, **columns)
            seed += 1
    (directory / "samples.json").write_text(json.dumps(SAMPLES, indent=1) + "\n")
    (directory / "triggers.json").write_text(json.dumps(TRIGGERS, indent=1) + "\n")
    print(f"{directory}: {seed} files of {events} events")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path("data"))
    parser.add_argument("--small", action="store_true", help="for tests: seconds, not minutes")
    parser.add_argument("--scale", type=int, default=1, metavar="N", help="N times as much")
    options = parser.parse_args()
    main(options.directory, 12 if options.small else 1400 * options.scale)
