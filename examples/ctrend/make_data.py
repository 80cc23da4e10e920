"""Synthetic temperatures of weather stations for `ctrend.ipynb`: a CSV file for each.

    python make_data.py [DIRECTORY] [--small | --scale N]

(default: data; 60 stations, --small 7, --scale N times as many)

Monthly means from 1950 to 2024, in tenths of a degree Celsius: a season, a trend of 0.02 degrees a
year, and noise that lasts. A fifth is missing. One station in ten has nothing from 1961 to 2020,
and the last one no temperature at all. The same seed gives the same bytes with the same numpy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

SEED = 1950
YEARS = range(1950, 2025)


def station(number: int, empty: bool) -> str:
    """The file of one station."""
    random = np.random.default_rng([SEED, number])
    months = np.arange(12 * len(YEARS))
    latitude, longitude = random.uniform(-55, 70), random.uniform(-180, 180)
    mean = 27 - 0.5 * abs(latitude) + random.normal(0, 1.5)
    swing = 0.25 * abs(latitude) * (1 if latitude > 0 else -1)
    season = -swing * np.cos(2 * np.pi * (months % 12 - 0.5) / 12)
    trend = random.normal(0.02, 0.006) * months / 12
    shocks = random.normal(0, 0.9, len(months))
    weather = np.zeros(len(months))
    for month in months[1:]:
        weather[month] = 0.35 * weather[month - 1] + shocks[month]
    tenths = np.rint(10 * (mean + season + trend + weather)).astype(int)
    missing = random.random(len(months)) < 0.2
    rain = random.gamma(2.0, 30.0, len(months)).round(1)
    if number % 10 == 5:
        years = 1950 + months // 12
        missing |= (years >= 1961) & (years <= 2020)
    lines = ["STATION,DATE,LATITUDE,LONGITUDE,TAVG,PRCP"]
    for month in months:
        value = "" if empty or missing[month] else tenths[month]
        date = f"{1950 + month // 12}-{month % 12 + 1:02d}"
        place = f"{latitude:.3f},{longitude:.3f}"
        lines.append(f"SYN{number:05d},{date},{place},{value},{rain[month]}")
    return "\n".join(lines) + "\n"


def main(directory: Path, count: int) -> None:
    """Write the stations, and which there are."""
    (directory / "stations").mkdir(parents=True, exist_ok=True)
    names = [f"SYN{number:05d}.csv" for number in range(count)]
    for number, name in enumerate(names):
        (directory / "stations" / name).write_text(station(number, number == count - 1))
    (directory / "csv_index.json").write_text(json.dumps(names, indent=1) + "\n")
    print(f"{directory}: {count} stations")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path("data"))
    parser.add_argument("--small", action="store_true", help="for tests: seconds, not minutes")
    parser.add_argument("--scale", type=int, default=1, metavar="N", help="N times as much")
    options = parser.parse_args()
    main(options.directory, 7 if options.small else 60 * options.scale)
