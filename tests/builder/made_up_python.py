"""What an interpreter that does not exist says of itself."""

from nbrw_builder.interpreter import Python


def python(prefix="/env", base="/base", version="3.11.7"):
    """A virtual environment on an installation elsewhere."""
    library = f"{prefix}/lib/python3.11"
    return Python(
        executable=f"{prefix}/bin/python", prefix=prefix, base_prefix=base,
        base_executable=f"{base}/bin/python3.11", stdlib=f"{base}/lib/python3.11",
        platstdlib=f"{base}/lib/python3.11", purelib=f"{library}/site-packages",
        platlib=f"{library}/site-packages", path=(), libdir=f"{base}/lib", library="",
        version=version, platform="Linux", markers={},
    )  # fmt: skip
