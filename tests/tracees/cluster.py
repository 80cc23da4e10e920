"""A Dask cluster of two processes computes something from files."""

import sys
from pathlib import Path


def main() -> None:
    """Write files, read them by workers."""
    import dask
    from dask.distributed import Client, LocalCluster

    # The profiler of the workers reads the sources of what it happens to find running.
    dask.config.set({"distributed.worker.profile.enabled": False})

    place = Path(sys.argv[1])
    for number in range(8):
        (place / f"part-{number}.txt").write_text(str(number))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        paths = [str(place / f"part-{number}.txt") for number in range(8)]
        parts = client.map(lambda path: int(Path(path).read_text()), paths)
        print(client.submit(sum, parts).result())


if __name__ == "__main__":
    main()
