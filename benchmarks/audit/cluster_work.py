"""A LocalCluster of two workers, and as much work as a short notebook has."""


def main() -> None:
    """Start, compute, close."""
    import dask.array as da
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        x = da.random.default_rng(0).random((2000, 2000), chunks=(500, 500))
        for _ in range(2):
            (x @ x.T).mean().compute()
        client.gather(client.map(lambda n: n + 1, range(300)))


if __name__ == "__main__":
    main()
