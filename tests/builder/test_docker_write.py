"""Names of images in a Docker Engine, and the stream that it is sent."""

import io
import json
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from nbrw_builder import docker_write
from nbrw_builder.build_image import kind_of
from nbrw_builder.cache import LayerCache
from nbrw_builder.docker_client import connect, is_reference, reference
from nbrw_builder.docker_write import docker_stream
from nbrw_builder.entry import Entry
from nbrw_builder.errors import BuildError, HostError
from nbrw_builder.image import Image
from nbrw_builder.image_file import open_image
from nbrw_builder.layer import pack
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))

from images import CONFIG, cell, system  # noqa: E402


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("docker-daemon:climate", "climate:latest"),
        ("docker-daemon:climate:v1", "climate:v1"),
        ("docker-daemon:team/climate:v1", "team/climate:v1"),
        ("docker-daemon:localhost:5000/team/climate", "localhost:5000/team/climate:latest"),
        ("docker-daemon:reg.example.org/a/b:1.0", "reg.example.org/a/b:1.0"),
    ],
)
def test_a_name_gets_a_tag(path, name):
    """`latest`, as everywhere; a port is none."""
    assert is_reference(Path(path)) and reference(Path(path)) == name
    assert kind_of(Path(path)) == "docker-daemon"
    assert open_image(path).kind == "docker-daemon"


@pytest.mark.parametrize("name", ["", "Climate", "a b", "a:", "a:b:c", "/a", "a@sha256:1"])
def test_what_is_no_name_is_refused(name):
    """Before anything is asked of an engine."""
    with pytest.raises(UsageError, match="small letters"):
        open_image(f"docker-daemon:{name}")


def image(tmp_path, *entries):
    """A system layer and the same checkpoint twice."""
    plans = [system(*entries), cell(1, b"one" * 500_000)]
    cache = LayerCache(tmp_path)
    layers = [pack(plan, cache) for plan in plans]
    return Image(tuple(layers), CONFIG)


def test_the_stream_is_what_docker_save_makes(tmp_path):
    """Configuration and layers under their digests, and a manifest that names them in order."""
    made = image(tmp_path)
    said = []
    data = b"".join(docker_stream(made, said.append))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
    (manifest,) = json.loads(files["manifest.json"])
    assert manifest["RepoTags"] == ["nbrw-test:v1"]
    for name in (manifest["Config"], *manifest["Layers"]):
        assert name == f"blobs/sha256/{digest_bytes(files[name]).hex}"
    assert [name.rpartition("/")[2] for name in manifest["Layers"]] == [
        layer.diff_id.hex for layer in made.layers
    ]
    assert said == ["send system", "send cell:1"]


def test_what_goes_wrong_while_a_layer_is_made_ends_the_stream(tmp_path):
    """With the error itself, so that no engine takes what came before for an image."""
    big = tmp_path / "big"
    big.write_bytes(b"1" * 3_000_000)
    made = image(tmp_path / "cache", Entry("/big", source=big))
    big.write_bytes(b"2" * 3_000_001)
    with pytest.raises(BuildError, match="big"):
        b"".join(docker_stream(made, lambda text: None))


def test_who_stops_reading_ends_the_thread_that_makes_the_tar(tmp_path):
    """A connection that breaks leaves nothing that runs."""
    big = tmp_path / "big"
    big.write_bytes(bytes(30_000_000))
    stream = docker_stream(image(tmp_path / "cache", Entry("/big", source=big)), lambda text: None)
    while len(next(stream)) < docker_write._CHUNK:
        continue
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "nbrw-tar"]


def test_a_socket_that_one_may_not_use_is_told_from_no_engine(tmp_path, monkeypatch):
    """The remedies are others."""
    docker = pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(HostError, match="no Docker Engine answers"):
        connect()

    def refused():
        raise docker.errors.DockerException("PermissionError(13, 'Permission denied')")

    monkeypatch.setattr(docker, "from_env", refused)
    with pytest.raises(HostError, match="group `docker`"):
        connect()
