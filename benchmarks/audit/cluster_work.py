"""A LocalCluster of two workers, and as much work as a short notebook has."""

import sys


def main(size: int, turns: int) -> None:
    """Start, multiply matrices of this size so many times, close."""
    import dask.array as da
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        x = da.random.default_rng(0).random((size, size), chunks=(500, 500))
        for _ in range(turns):
            (x @ x.T).mean().compute()
        client.gather(client.map(lambda n: n + 1, range(300)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
