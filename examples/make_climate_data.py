"""Synthetic weather records for `climate.ipynb`: 24 months, hourly, 120 stations in 6 regions.

    python make_climate_data.py [DIRECTORY]     (default: data/climate, 24 files, 2.1 million rows)

The same seed gives the same bytes with the same pyarrow. Temperatures are in degrees Celsius,
rain in millimetres per hour.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20261121
REGIONS = ("alpine", "boreal", "coastal", "continental", "mediterranean", "steppe")
MEAN = np.array([4.0, 1.5, 11.0, 9.0, 16.5, 12.0])  # yearly mean of each region
SWING = np.array([9.0, 15.0, 6.5, 11.5, 9.5, 14.0])  # half the range over a year
STATIONS = 20  # in each region


def month(start: pd.Timestamp, seed: int) -> pd.DataFrame:
    """The records of one month, sorted by time."""
    random = np.random.default_rng([SEED, seed])
    times = pd.date_range(start, start + pd.offsets.MonthBegin(1), freq="h", inclusive="left")
    hours, count = len(times), len(REGIONS) * STATIONS
    region = np.repeat(np.arange(len(REGIONS)), STATIONS)
    year = 2 * np.pi * (times.day_of_year.to_numpy() - 105) / 365.25
    day = 2 * np.pi * (times.hour.to_numpy() - 9) / 24
    normal = MEAN[region] + SWING[region] * np.sin(year)[:, None] + 3.5 * np.sin(day)[:, None]
    # Weather lasts for days: each region has spells, some of them heat waves.
    days = hours // 24
    spell = np.zeros((days, len(REGIONS)))
    shock = random.normal(0.0, 1.7, (days, len(REGIONS)))
    shock += (random.random((days, len(REGIONS))) < 0.02) * 6.0
    for today in range(1, days):
        spell[today] = 0.7 * spell[today - 1] + shock[today]
    weather = np.repeat(spell, 24, axis=0)[:, region]
    noise = random.normal(0.0, 1.1, (hours, count))
    rain = np.where(random.random((hours, count)) < 0.12, random.gamma(0.8, 2.2, (hours, count)), 0)
    return pd.DataFrame(
        {
            "time": np.repeat(times.to_numpy(), count),
            "region": np.tile(np.array(REGIONS)[region], hours),
            "station": np.tile(np.arange(count, dtype="int16"), hours),
            "normal": np.round(normal, 2).astype("float32").ravel(),
            "temperature": np.round(normal + weather + noise, 2).astype("float32").ravel(),
            "rain": np.round(rain, 2).astype("float32").ravel(),
        }
    )


def main(directory: Path) -> None:
    """Write one parquet file for each month."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = 0
    for number, start in enumerate(pd.date_range("2023-01-01", periods=24, freq="MS")):
        table = pa.Table.from_pandas(month(start, number), preserve_index=False)
        pq.write_table(table, directory / f"{start:%Y-%m}.parquet", compression="zstd")
        rows += len(table)
    size = sum(path.stat().st_size for path in directory.glob("*.parquet"))
    print(f"{directory}: 24 files, {rows:,} rows, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/climate"))
