"""Which engine runs an image, and what each is told."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbrw_builder import engine_apptainer, engine_podman
from nbrw_builder.contained import keep_apart
from nbrw_builder.engine import RunRequest, cache_mount, hint_at
from nbrw_builder.engine_docker import DockerEngine
from nbrw_builder.engine_embedded import (
    EmbeddedEngine,
    check_directory,
    clean_environment,
    make_order,
)
from nbrw_builder.errors import HostError
from nbrw_builder.image_file import OciImage, SifImage, open_image
from nbrw_builder.oci_load import config_digest, docker_archive
from nbrw_builder.rootfs import _make_room, unpacked
from nbrw_builder.run_image import all_engines, choose_engine, run_image
from nbrw_runtime.errors import IntegrityError, UsageError

sys.path.insert(0, str(Path(__file__).parent))

from images import write  # noqa: E402


@dataclass
class Fake:
    """An engine that lacks what it is told to lack."""

    name: str
    lack: str | None = None

    def missing(self, kind):
        return self.lack

    def run(self, request):
        return 0


def fakes(**lacking):
    return [Fake(n, lacking.get(n)) for n in ("apptainer", "docker", "podman", "embedded")]


@pytest.mark.parametrize(
    ("kind", "lacking", "name"),
    [
        ("sif", {}, "apptainer"),
        ("sif", {"apptainer": "x", "docker": "x", "podman": "x"}, "embedded"),
        ("oci-tar", {}, "docker"),
        ("oci-dir", {"docker": "no engine"}, "podman"),
        ("oci-tar", {"docker": "no engine", "podman": "no"}, "embedded"),
    ],
)
def test_the_first_engine_that_can_is_chosen(kind, lacking, name):
    """Apptainer for SIF, the container engines for OCI, the embedded one where there is none."""
    assert choose_engine(kind, engines=fakes(**lacking)).name == name


def test_when_nothing_can_every_engine_says_what_it_lacks():
    """Docker does not read SIF, the others are not installed: all of it is in the message."""
    lacking = {name: f"no {name}" for name in ("apptainer", "docker", "podman", "embedded")}
    with pytest.raises(HostError) as error:
        choose_engine("sif", engines=fakes(**lacking))
    assert all(f"{name}: no {name}" in str(error.value) for name in lacking)


def test_a_wanted_engine_is_used_or_its_lack_is_told():
    """No other engine is taken instead."""
    assert choose_engine("sif", "embedded", fakes()).name == "embedded"
    with pytest.raises(HostError, match="no apptainer"):
        choose_engine("sif", "apptainer", fakes(apptainer="no apptainer"))
    with pytest.raises(UsageError, match="apptainer, docker, podman, embedded"):
        choose_engine("sif", "rocket")


def test_container_engines_refuse_sif():
    """Whether installed or not."""
    refused = [engine.name for engine in all_engines() if engine.missing("sif")]
    assert {"docker", "podman"} <= set(refused)
    assert DockerEngine().missing("sif") == "does not read SIF"


@pytest.mark.parametrize(
    ("status", "said"), [(125, True), (126, True), (0, False), (1, False), (130, False)]
)
def test_an_engine_that_could_not_start_is_told_from_the_image(capsys, status, said):
    """The exit code is passed on in any case; only the engine's own get a hint."""
    assert hint_at("podman", status, (125, 126)) == status
    assert ("--engine embedded" in capsys.readouterr().err) is said


def test_apptainer_gets_the_work_directory_and_untouched_arguments():
    """Arguments are handed over as they are, one by one."""
    request = RunRequest(SifImage(Path("/i/a.sif")), ("repeat", "a b", "$x"), Path("/scratch/w"))
    assert engine_apptainer.command("apptainer", request) == [
        "apptainer", "--quiet", "run", "--bind", "/scratch/w", "--pwd", "/scratch/w",
        "/i/a.sif", "repeat", "a b", "$x",
    ]  # fmt: skip


def test_apptainer_binds_nothing_that_bind_cannot_say():
    """A directory with a colon is left to Apptainer's own mount of the current directory."""
    request = RunRequest(SifImage(Path("/i/a.sif")), (), Path("/scratch/a:b"))
    assert "--bind" not in engine_apptainer.command("apptainer", request)


def test_apptainer_does_not_evaluate_arguments_of_converted_images():
    """The runscript that Apptainer makes of an OCI image would expand `$x` a second time."""
    request = RunRequest(OciImage(Path("/i/t.tar"), "oci-tar"), ("$x",), Path("/w"))
    argv = engine_apptainer.command("apptainer", request)
    assert "--no-eval" in argv
    assert argv[-2:] == ["oci-archive:/i/t.tar", "$x"]


def test_apptainer_contains_a_run_if_asked_to():
    """Neither the caller's home nor /tmp nor variables; room for them where nbrw says."""
    request = RunRequest(SifImage(Path("/i/a.sif")), ("x",), Path("/w"), contain=Path("/s"))
    assert engine_apptainer.command("apptainer", request) == [
        "apptainer", "--quiet", "run", "--cleanenv", "--contain", "--workdir", "/s",
        "--bind", "/w", "--pwd", "/w", "/i/a.sif", "x",
    ]  # fmt: skip


def test_a_contained_run_sees_nothing_that_repeats_keep(tmp_path, monkeypatch):
    """Neither by a mount nor by a variable, in whichever engine."""
    monkeypatch.setenv("NBRW_CACHE_DIR", str(tmp_path))
    image = OciImage(Path("/i"), "oci-dir")
    for contain, seen in ((None, True), (Path("/s"), False)):
        request = RunRequest(image, ("x",), Path("/w"), contain)
        argv = [*engine_podman.command("abc", request), *engine_apptainer.command("a", request)]
        assert (str(tmp_path) in " ".join(argv)) is seen
        assert (cache_mount(request).source is not None) is seen


@pytest.mark.parametrize(
    ("home", "directory", "shown", "inside"),
    [
        ("/home/ada", "/scratch/w", ["/home/ada", "/tmp", "/var/tmp"], ()),
        ("/home/ada", "/home/ada/w/x", ["/home/ada", "/tmp", "/var/tmp"], ("/home/ada/w/x",)),
        ("/home/ada", "/tmp/w", ["/home/ada", "/tmp", "/var/tmp"], ("/tmp/w",)),
        ("/home/ada", "/home/ada", ["/tmp", "/var/tmp"], ()),
        ("/home/ada", "/home", ["/tmp", "/var/tmp"], ()),
        ("/home/ada", "/home/adam", ["/home/ada", "/tmp", "/var/tmp"], ()),
        ("/tmp/h", "/tmp/w", ["/tmp", "/var/tmp"], ("/tmp/w",)),
        ("/tmp/w/h", "/tmp/w", ["/tmp", "/var/tmp"], ("/tmp/w",)),
    ],
)
def test_directories_that_stand_in_for_the_callers(tmp_path, home, directory, shown, inside):
    """Each is empty but for what is mounted in it; the work directory is what it is."""
    apart = keep_apart(tmp_path, [home, "/tmp", "/var/tmp"], directory)
    assert sorted(apart.sources) == shown
    assert apart.inside == inside
    assert len(set(apart.sources.values())) == len(shown)
    assert (Path(apart.sources["/tmp"]).stat().st_mode & 0o7777) == 0o1777
    for path in inside:
        top = next(top for top in shown if path.startswith(top + "/"))
        assert Path(apart.sources[top] + path[len(top) :]).is_dir()
    if home == "/tmp/h":
        assert Path(apart.sources["/tmp"], "h").is_dir()


def test_podman_mounts_a_directory_whatever_its_name(tmp_path, monkeypatch):
    """Commas and quotes are quoted as comma-separated values are."""
    monkeypatch.setenv("NBRW_CACHE_DIR", str(tmp_path))
    request = RunRequest(OciImage(Path("/i"), "oci-dir"), ("x",), Path('/w/a,b"c'))
    argv = engine_podman.command("abc", request)
    assert 'type=bind,"src=/w/a,b""c",dst=/nbrw/work' in argv
    assert argv[-2:] == ["abc", "x"]


def test_what_repeats_keep_is_shown_to_the_image(tmp_path, monkeypatch):
    """By every engine: with its own path, or where the image is told that it is."""
    monkeypatch.setenv("NBRW_CACHE_DIR", str(tmp_path / "c"))
    monkeypatch.setenv("NBRW_CACHE_SIZE", "5G")
    request = RunRequest(OciImage(Path("/i"), "oci-dir"), (), tmp_path)
    argv = engine_podman.command("abc", request)
    assert f"type=bind,src={tmp_path}/c/repeats,dst=/nbrw/cache/repeats" in argv
    assert "NBRW_CACHE_DIR=/nbrw/cache" in argv and "NBRW_CACHE_SIZE=5G" in argv
    assert (tmp_path / "c/repeats").stat().st_mode & 0o777 == 0o700
    words = engine_apptainer.command("apptainer", request)
    assert words[words.index(f"{tmp_path}/c") - 1] == "--bind"
    order = make_order(request, tmp_path, tmp_path)
    assert f"{tmp_path}/c" in order.binds
    assert order.environment["NBRW_CACHE_DIR"] == f"{tmp_path}/c"


def test_a_cache_that_cannot_be_made_is_not_shown(tmp_path, monkeypatch):
    """The image is run all the same."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("NBRW_CACHE_DIR", str(tmp_path / "file/c"))
    request = RunRequest(OciImage(Path("/i"), "oci-dir"), (), tmp_path)
    assert "/nbrw/cache" not in " ".join(engine_podman.command("abc", request))
    assert "--bind" in engine_apptainer.command("apptainer", request)


def test_the_callers_environment_stays_outside():
    """What would change results does not get in; what was meant for the image does."""
    seen = clean_environment(
        {"HOME": "/h", "PYTHONPATH": "/p", "LD_PRELOAD": "x", "TZ": "Asia/Tokyo", "PATH": "/mine",
         "APPTAINERENV_OMP_NUM_THREADS": "2", "https_proxy": "p"}
    )  # fmt: skip
    assert (seen["HOME"], seen["OMP_NUM_THREADS"], seen["https_proxy"]) == ("/h", "2", "p")
    assert not {"PYTHONPATH", "LD_PRELOAD", "TZ"} & set(seen)
    assert "/mine" not in seen["PATH"]


@pytest.mark.parametrize("path", ["/", "/usr", "/etc"])
def test_a_work_directory_that_hides_the_image_is_refused(tmp_path, path):
    """A directory of the caller's own below /opt is none of these."""
    (tmp_path / "usr").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "opt").mkdir()
    with pytest.raises(UsageError, match="the image has its own"):
        check_directory(Path(path), tmp_path)
    check_directory(Path("/opt/mine"), tmp_path)


def test_docker_gets_an_archive_of_a_layout_directory(tmp_path):
    """Its manifest.json names configuration and layers, and every blob is there."""
    write(tmp_path / "image", tmp_path / "cache")
    data = b"".join(docker_archive(tmp_path / "image", "oci-dir"))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        (note,) = json.load(tar.extractfile("manifest.json"))
        assert len(note["Layers"]) == 4
        config = tar.extractfile(note["Config"]).read()
    assert json.loads(config)["os"] == "linux"
    digest = config_digest(tmp_path / "image", "oci-dir")
    assert note["Config"].endswith(digest.hex)


def test_a_tar_and_a_directory_have_one_identity(tmp_path):
    """The engine finds the image whichever way it came."""
    write(tmp_path / "image", tmp_path / "cache")
    write(tmp_path / "image.tar", tmp_path / "cache")
    assert b"".join(docker_archive(tmp_path / "image.tar", "oci-tar")) == (
        (tmp_path / "image.tar").read_bytes()
    )
    assert config_digest(tmp_path / "image", "oci-dir") == config_digest(
        tmp_path / "image.tar", "oci-tar"
    )


def test_an_image_is_unpacked_once(tmp_path):
    """The second time says nothing; the lock's descriptor is open meanwhile."""
    write(tmp_path / "image", tmp_path / "cache")
    said = []
    for _ in range(2):
        with unpacked(open_image(tmp_path / "image"), tmp_path / "cache", said.append) as (root, _):
            assert (root / ".singularity.d/runscript").is_file()
    assert len([text for text in said if text.startswith("unpacking")]) == 1


def test_a_corrupt_image_is_never_unpacked(tmp_path):
    """It is verified first, and nothing half-unpacked stays."""
    write(tmp_path / "image", tmp_path / "cache")
    for path in (tmp_path / "image/blobs/sha256").iterdir():
        if path.read_bytes()[:2] == b"\x1f\x8b":
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:-9] + b"123456789")
            break
    cache = tmp_path / "other"
    with pytest.raises(IntegrityError), unpacked(open_image(tmp_path / "image"), cache):
        raise AssertionError("it was unpacked")
    assert not [path for path in (cache / "rootfs").iterdir() if len(path.name) == 64]


def test_trees_used_longest_ago_make_room(tmp_path):
    """The tree in use stays, and so does one that somebody else runs."""
    for number, name in enumerate("abc"):
        tree = tmp_path / (name * 64)
        tree.mkdir()
        (tree / "file").write_bytes(b"x" * 5000)
        lock = tmp_path / (name * 64 + ".lock")
        lock.touch()
        os.utime(lock, (number, number))
    _make_room(tmp_path, tmp_path / ("a" * 64), limit=20_000)
    assert sorted(p.name[0] for p in tmp_path.iterdir() if p.is_dir()) == ["a", "c"]


def test_a_work_directory_that_is_none_is_refused(tmp_path):
    """Before anything is unpacked or started."""
    write(tmp_path / "image", tmp_path / "cache")
    with pytest.raises(UsageError, match="is not a directory"):
        run_image(tmp_path / "image", directory=tmp_path / "nowhere")


def test_the_embedded_engine_needs_a_program_for_sif_only(monkeypatch):
    """Without squashfs-tools it still runs OCI images."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert "squashfs-tools" in EmbeddedEngine().missing("sif")
    assert EmbeddedEngine().missing("oci-tar") is None
