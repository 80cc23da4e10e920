"""Push and pull against a real registry, and what skopeo makes of it."""

from __future__ import annotations

import base64
import json
import os
import random
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from images import system, write  # noqa: E402

from nbrw_builder.cli import main  # noqa: E402
from nbrw_builder.entry import Entry  # noqa: E402
from nbrw_builder.image_file import open_image  # noqa: E402
from nbrw_builder.registry.client import Access  # noqa: E402
from nbrw_builder.registry.errors import RegistryError, UnknownNameError  # noqa: E402
from nbrw_builder.registry.pull import pull  # noqa: E402
from nbrw_builder.registry.push import check_access, push  # noqa: E402
from nbrw_builder.registry.reference import parse_reference  # noqa: E402
from nbrw_runtime.errors import IntegrityError, NotFoundError, UsageError  # noqa: E402
from registry_helper import (  # noqa: E402
    HTPASSWD,
    PASSWORD,
    USER,
    Fault,
    Proxy,
    authority,
    need,
    registry,
)

pytestmark = pytest.mark.integration
PLAIN = Access(plain_http=True)


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def contents(root):
    """What a layout is, whatever its index says of names."""
    return {path.name: path.read_bytes() for path in (root / "blobs/sha256").iterdir()}


@pytest.fixture(autouse=True)
def caller(tmp_path, monkeypatch):
    """A caller with an empty home, cache and environment."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "APPTAINER_CONFIGDIR",
                 "XDG_CONFIG_HOME", "SSL_CERT_FILE"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NBRW_CACHE_DIR", raising=False)
    return home


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A registry without TLS that lets everybody in."""
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A registry with TLS of a test authority, and passwords; with the authority's certificate."""
    place = tmp_path_factory.mktemp("locked")
    certificate, host, key = authority(place / "tls")
    with registry(place, password=True, tls=(host, key)) as found:
        yield found, certificate


@pytest.fixture
def image(tmp_path):
    """A small OCI directory."""
    write(tmp_path / "image", tmp_path / "builds", cells=(noise(300_000), noise(500_000, 2)))
    return tmp_path / "image"


def name(host, path, request):
    """A repository of the test's own."""
    return parse_reference(f"docker://{host}/{request.node.name.split('[')[0]}/{path}")


def skopeo(*words, **options):
    need("skopeo")
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("kind", ["image", "image.tar"])
def test_what_is_pushed_has_its_digest_and_skopeo_reads_it(
    tmp_path, server, request, compression, kind
):
    """From a directory as from a tar; every blob, compressed as it is, comes back the same."""
    written = write(tmp_path / kind, tmp_path / "builds", compression=compression)
    target = name(server.host, f"{compression}:v1", request)
    account = push(tmp_path / kind, target, PLAIN)
    assert account.digest == str(written.digest)
    found = json.loads(skopeo("inspect", "--tls-verify=false", str(target)))
    assert found["Digest"] == str(written.digest)
    keep = ("copy", "-q", "--preserve-digests", "--src-tls-verify=false")
    skopeo(*keep, str(target), f"oci:{tmp_path}/copy:v1")
    open_image(tmp_path / "copy").verify()
    pull(target, tmp_path / "ours", PLAIN)
    assert contents(tmp_path / "ours") == contents(tmp_path / "copy")
    open_image(tmp_path / "ours").verify()


def test_what_skopeo_pushes_is_pulled_with_its_digest(tmp_path, server, request, image):
    """Ours is one of many clients."""
    target = name(server.host, "theirs:v1", request)
    # Else it may take a layer that it knows to be there otherwise compressed, of another test.
    keep = ("copy", "-q", "--preserve-digests", "--dest-tls-verify=false")
    skopeo(*keep, f"oci:{image}", str(target))
    pull(target, tmp_path / "out", PLAIN)
    assert contents(tmp_path / "out") == contents(image)


def test_a_pulled_tar_is_read_by_skopeo_and_by_nbrw(tmp_path, server, request, image):
    """It is an OCI archive and a Docker archive at once, with the name that it was pulled by."""
    target = name(server.host, "tar:v1", request)
    account = push(image, target, PLAIN)
    pull(target, tmp_path / "out.tar", PLAIN)
    open_image(tmp_path / "out.tar").verify()
    found = json.loads(skopeo("inspect", f"oci-archive:{tmp_path}/out.tar"))
    assert found["Digest"] == account.digest
    found = json.loads(skopeo("inspect", f"docker-archive:{tmp_path}/out.tar"))
    assert len(found["Layers"]) == 4


def test_a_sif_of_pulled_layers_is_the_one_that_the_author_would_have_got(
    tmp_path, server, request, image
):
    """The same file system, bit by bit, recipe and labels."""
    need("mksquashfs")
    target = name(server.host, "sif:v1", request)
    push(image, target, PLAIN)
    pull(target, tmp_path / "pulled.sif", PLAIN)
    cells = (noise(300_000), noise(500_000, 2))
    write(tmp_path / "built.sif", tmp_path / "builds", cells=cells)
    open_image(tmp_path / "pulled.sif").verify()
    pulled, built = (open_image(tmp_path / f"{word}.sif") for word in ("pulled", "built"))
    assert pulled.recipe_bytes() == built.recipe_bytes()
    summaries = [found._object("nbrw-image.json") for found in (pulled, built)]
    assert summaries[0] == summaries[1]
    assert pulled._object("labels") == built._object("labels")
    assert os.access(tmp_path / "pulled.sif", os.X_OK)


def test_a_sif_goes_to_a_registry_and_back_as_it_is(tmp_path, server, request):
    """By oras://, with the types that Apptainer looks for; a second push sends nothing."""
    need("mksquashfs")
    write(tmp_path / "a.sif", tmp_path / "builds")
    target = parse_reference(str(name(server.host, "sif:v1", request)).replace("docker", "oras", 1))
    push(tmp_path / "a.sif", target, PLAIN)
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target.name}"))
    assert raw["layers"][0]["mediaType"] == "application/vnd.sylabs.sif.layer.v1.sif"
    assert raw["config"]["mediaType"] == "application/vnd.sylabs.sif.config.v1+json"
    pull(target, tmp_path / "b.sif", PLAIN)
    assert (tmp_path / "a.sif").read_bytes() == (tmp_path / "b.sif").read_bytes()
    assert push(tmp_path / "a.sif", target, PLAIN).travelled == 0
    with pytest.raises(UsageError, match="it is a SIF; pull oras://"):
        pull(parse_reference(f"docker://{target.name}"), tmp_path / "out", PLAIN)


def test_a_sif_is_not_taken_for_layers(tmp_path, server, request):
    """The refusal says the two ways there are."""
    need("mksquashfs")
    write(tmp_path / "a.sif", tmp_path / "builds")
    target = name(server.host, "x:v1", request)
    with pytest.raises(UsageError, match="oras://.*nbrw-build NOTEBOOK -o docker://"):
        push(tmp_path / "a.sif", target, PLAIN)


def test_after_an_edit_of_the_last_cell_little_travels(tmp_path, server, request):
    """At most two bytes of a hundred, where the last cell is small as it usually is."""
    environment = system(Entry("/opt/environment", data=noise(6_000_000)))
    cells = [noise(2_000_000, 2), noise(500_000, 3), b"the last cell" * 50]
    target = name(server.host, "nb", request)
    first = write(tmp_path / "image", tmp_path / "builds", cells, environment)
    before = push(tmp_path / "image", target, PLAIN)
    assert before.travelled > 8_000_000
    cells[-1] = b"an edited cell" * 50
    second = write(tmp_path / "image", tmp_path / "builds", cells, environment)
    after = push(tmp_path / "image", target, PLAIN)
    assert first.digest != second.digest and after.digest == str(second.digest)
    assert 0 < after.travelled <= 0.02 * before.travelled
    assert after.saved >= 0.98 * before.travelled
    # And so it is where the earlier version was pulled.
    pull(target, tmp_path / "out", PLAIN)
    cells[-1] = b"edited again" * 50
    write(tmp_path / "image", tmp_path / "builds", cells, environment)
    push(tmp_path / "image", target, PLAIN)
    again = pull(target, tmp_path / "out", PLAIN)
    assert 0 < again.travelled <= 0.02 * before.travelled
    assert contents(tmp_path / "out") == contents(tmp_path / "image")


def test_blobs_of_another_repository_are_mounted(tmp_path, server, request, image, monkeypatch):
    """Those that the cache remembers, and those of a repository that the caller names."""
    known = push(image, name(server.host, "first:v1", request), PLAIN)
    mounted = push(image, name(server.host, "second:v1", request), PLAIN)
    assert known.travelled and not mounted.travelled
    assert {found.state.value for found in mounted.moved} == {"mounted"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    named = push(image, name(server.host, "third:v1", request), PLAIN,
                 sources=[name(server.host, "first", request).repository])  # fmt: skip
    assert {found.state.value for found in named.moved} == {"mounted"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nowhere"))
    wrong = push(image, name(server.host, "fourth:v1", request), PLAIN, sources=["no/such"])
    assert wrong.travelled == known.travelled


def test_the_commands_report_for_scripts_and_people(tmp_path, server, request, image, capsys):
    """By blob what was sent and what was there; the build of a JSON document is one line less."""
    target = str(name(server.host, "nb:v1", request))
    assert main(["push", "--plain-http", "--json", str(image), target]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["format"] == "nbrw.push" and value["digest"].startswith("sha256:")
    assert {found["state"] for found in value["blobs"]} == {"sent"}
    assert value["travelled"] == sum(found["size"] for found in value["blobs"])
    assert main(["push", "--plain-http", "--only-new", str(image), target]) == 0
    assert "sent 0 B" in capsys.readouterr().out
    assert main(["pull", "--plain-http", "--json", target, str(tmp_path / "out")]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["format"] == "nbrw.pull" and value["out"] == str(tmp_path / "out")
    assert main(["pull", "--plain-http", "-q", target, str(tmp_path / "out")]) == 0
    assert capsys.readouterr() == ("", "")


# -- what is in the way -----------------------------------------------------------------------


def test_a_corrupt_image_gets_no_tag(server, request, image):
    """Neither one whose blob has other bytes nor one that lacks a blob."""
    largest = max((image / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    largest.chmod(0o644)
    largest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    target = name(server.host, "nb:v1", request)
    with pytest.raises(IntegrityError, match="layer cell:2"):
        push(image, target, PLAIN)
    assert server.tags(target.repository) == []
    largest.unlink()
    with pytest.raises(NotFoundError, match="is missing"):
        push(image, target, PLAIN)
    assert server.tags(target.repository) == []


def test_a_name_that_is_not_there_is_told(tmp_path, server, request):
    """Repository and tag; nothing is left where the image should have been."""
    with pytest.raises(UnknownNameError, match="no such repository, tag or digest"):
        pull(name(server.host, "nb:v1", request), tmp_path / "out", PLAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("out", ["full", "file", "there.sif", "no/out"])
def test_a_pull_never_takes_the_place_of_something_else(tmp_path, server, request, image, out):
    """A directory with other things, a file, a directory named as a SIF; it asks nobody before."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "there.sif").mkdir()
    with pytest.raises(UsageError, match="name another|in the way|make it first"):
        pull(parse_reference("docker://nowhere.invalid/a"), tmp_path / out, PLAIN)


def test_a_registry_that_is_not_reached_is_told_at_once(tmp_path, image):
    """A port where nobody listens, a host that is none."""
    for host, cause in (("localhost:1", "Connection refused"), ("nowhere.invalid", "resol|known")):
        with pytest.raises(RegistryError, match=f"{host} is not reached: .*({cause})"):
            push(image, parse_reference(f"docker://{host}/nb:v1"), PLAIN)


# -- who we are, and who they are ---------------------------------------------------------------


def login(home, host, password=PASSWORD, path=".docker/config.json", **more):
    """What `docker login` writes."""
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    (home / path).write_text(json.dumps({"auths": {host: {"auth": token}}, **more}))


def test_strangers_are_told_to_log_in(locked, request, image):
    """And so is who has a wrong password, with the file that it is in; it is never shown."""
    server, certificate = locked
    target, access = name(server.host, "nb:v1", request), Access(authority=certificate)
    with pytest.raises(RegistryError, match="wants credentials and none were found") as error:
        push(image, target, access)
    assert error.value.exit_code == 5


def test_a_wrong_password_is_told_and_not_shown(locked, request, image, caller):
    """The sentence names the file."""
    server, certificate = locked
    login(caller, server.host, "not that")
    with pytest.raises(RegistryError, match=r"refuses the credentials of .*config\.json") as error:
        push(image, name(server.host, "nb:v1", request), Access(authority=certificate))
    assert "not that" not in repr(error.value) and USER not in str(error.value)
    assert server.tags(name(server.host, "nb", request).repository) == []


@pytest.mark.parametrize(
    "path", [".docker/config.json", ".apptainer/docker-config.json",
             ".singularity/docker-config.json", ".config/containers/auth.json"],
)  # fmt: skip
def test_credentials_of_docker_apptainer_and_podman_let_in(
    tmp_path, locked, request, image, caller, path
):
    """And what was pushed is pulled."""
    server, certificate = locked
    login(caller, server.host, path=path)
    target = name(server.host, "nb:v1", request)
    push(image, target, Access(authority=certificate))
    pull(target, tmp_path / "out", Access(authority=certificate))
    assert contents(tmp_path / "out") == contents(image)


def test_a_credential_helper_is_asked(tmp_path, locked, request, image, caller, monkeypatch):
    """By Docker's protocol, for this registry only; no password is on disk."""
    server, certificate = locked
    helper = tmp_path / "bin/docker-credential-tests"
    helper.parent.mkdir()
    answer = json.dumps({"ServerURL": server.host, "Username": USER, "Secret": PASSWORD})
    helper.write_text(
        f"#!/bin/sh\nread host\necho \"$1 $host\" >>{tmp_path}/asked\necho '{answer}'\n"
    )
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    (caller / ".docker").mkdir()
    config = {"credHelpers": {server.host: "tests"}}
    (caller / ".docker/config.json").write_text(json.dumps(config))
    push(image, name(server.host, "nb:v1", request), Access(authority=certificate))
    assert set((tmp_path / "asked").read_text().splitlines()) == {f"get {server.host}"}


def test_an_authority_that_nobody_knows_is_not_believed(locked, request, image, caller):
    """The sentence says how to make it known; nothing is told to the impostor."""
    server, certificate = locked
    login(caller, server.host)
    with pytest.raises(RegistryError, match=r"not believed to be the registry: .*--ca"):
        push(image, name(server.host, "nb:v1", request))


@pytest.mark.parametrize("how", ["--ca", "SSL_CERT_FILE", "certs.d"])
def test_a_test_authority_is_believed_if_it_is_named(
    locked, request, image, caller, monkeypatch, how
):
    """On the command line, in the environment, or as Docker has it."""
    server, certificate = locked
    login(caller, server.host)
    words = ["push", "-q", str(image), str(name(server.host, f"nb:{how.strip('-')}", request))]
    if how == "--ca":
        words += ["--ca", str(certificate)]
    elif how == "SSL_CERT_FILE":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    else:
        place = caller / ".docker/certs.d" / server.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(certificate.read_bytes())
    assert main(words) == 0


def test_without_tls_only_if_asked_to(server, request, image):
    """A registry without TLS is a mistake, or somebody in between."""
    with pytest.raises(RegistryError, match="--plain-http, if that is meant so"):
        push(image, name(server.host, "nb:v1", request))


def test_a_password_stays_with_the_registry(tmp_path, locked, request, image, caller):
    """Blobs that lie elsewhere are fetched without it, as is whatever a redirect leads to."""
    server, certificate = locked
    with registry(tmp_path / "open") as storage, Proxy(storage.host) as elsewhere:
        push(image, parse_reference(f"docker://{storage.host}/nb:v1"), PLAIN)
        manifest = pull(parse_reference(f"docker://{storage.host}/nb:v1"), tmp_path / "x", PLAIN)
        with registry(tmp_path / "closed", password=True) as closed, Proxy(closed.host) as proxy:
            login(caller, proxy.host)
            target = parse_reference(f"docker://{proxy.host}/nb:v1")
            push(image, target, PLAIN)
            blob = max(manifest.moved, key=lambda found: found.blob.size).blob
            place = f"http://{elsewhere.host}/v2/nb/blobs/{blob.digest}"
            proxy.faults.append(Fault("GET", f"blobs/{blob.digest}", 9, 307, {"Location": place}))
            pull(target, tmp_path / "out", PLAIN)
            assert any("Authorization" in found.headers for found in proxy.seen)
        assert elsewhere.requests("GET", str(blob.digest))
        assert not any("Authorization" in found.headers for found in elsewhere.seen)
    assert contents(tmp_path / "out") == contents(image)


def test_tokens_are_asked_for_what_is_done_and_the_password_goes_nowhere_else(
    tmp_path, server, request, image, caller
):
    """The token server has the password; the registry has the token, a new one if it expires."""
    with Proxy(server.host) as proxy:
        proxy.tokens = ["first"]
        proxy.lets_in = lambda seen: seen.headers.get("Authorization", "").startswith("Basic")
        target = name(proxy.host, "nb:v1", request)
        with pytest.raises(RegistryError, match="ask http.*/token for a token: .*none were found"):
            push(image, target, PLAIN)
        login(caller, proxy.host)
        push(image, target, PLAIN)
        asked = proxy.requests("GET", "/token")[-1].path
        assert "service=tests" in asked
        assert f"scope=repository%3A{target.repository}%3Apull%2Cpush".replace("/", "%2F") in asked
        for seen in proxy.seen:
            basic = seen.headers.get("Authorization", "").startswith("Basic")
            assert basic <= seen.path.startswith("/token")
        proxy.faults.append(Fault("GET", "blobs", 1, 401, {
            "WWW-Authenticate": f'Bearer realm="http://{proxy.host}/token"'}))  # fmt: skip
        before = len(proxy.requests("GET", "/token"))
        pull(target, tmp_path / "out", PLAIN)
        assert len(proxy.requests("GET", "/token")) > before
    assert contents(tmp_path / "out") == contents(image)


def test_strangers_may_pull_where_the_token_server_lets_them(tmp_path, server, request, image):
    """An anonymous token, as Docker Hub gives them."""
    push(image, name(server.host, "nb:v1", request), PLAIN)
    with Proxy(server.host) as proxy:
        proxy.tokens = ["anonymous"]
        pull(name(proxy.host, "nb:v1", request), tmp_path / "out", PLAIN)
        (asked,) = {seen.path for seen in proxy.requests("GET", "/token")}
        assert asked.endswith("%3Apull") and "push" not in asked


def test_an_identity_token_is_exchanged(tmp_path, server, request, image, caller):
    """As OAuth2 has it; it is no password."""
    push(image, name(server.host, "nb:v1", request), PLAIN)
    with Proxy(server.host) as proxy:
        proxy.tokens = ["exchanged"]
        proxy.lets_in = lambda seen: b"refresh_token=mine" in seen.body
        (caller / ".docker").mkdir()
        config = {"auths": {proxy.host: {"auth": "", "identitytoken": "mine"}}}
        (caller / ".docker/config.json").write_text(json.dumps(config))
        pull(name(proxy.host, "nb:v1", request), tmp_path / "out", PLAIN)
        assert {seen.method for seen in proxy.requests("POST", "/token")} == {"POST"}


def test_repositories_that_are_not_ours_to_read_do_not_keep_us_out(server, request, image, caller):
    """The token is asked for once more, without them."""
    push(image, name(server.host, "first:v1", request), PLAIN)
    with Proxy(server.host) as proxy:
        proxy.tokens = ["ours"]
        proxy.lets_in = lambda seen: "secret" not in seen.path
        account = push(image, name(proxy.host, "nb:v1", request), PLAIN, sources=["a/secret"])
        assert account.travelled > 800_000


def test_access_is_checked_before_there_is_an_image(locked, request, caller):
    """So that a build of hours does not end at the registry's door."""
    server, certificate = locked
    target, access = name(server.host, "nb:v1", request), Access(authority=certificate)
    with pytest.raises(RegistryError, match="wants credentials"):
        check_access(target, access)
    login(caller, server.host)
    check_access(target, access)
    assert HTPASSWD.startswith(USER)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: podman's storage in a directory")
def test_podman_pulls_what_was_pushed(server, request, image):
    """By its digest, and under the digest of its configuration."""
    need("podman")
    account = push(image, name(server.host, "nb:v1", request), PLAIN)
    target = f"{server.host}/{name(server.host, 'nb', request).repository}@{account.digest}"
    # Not pytest's directory: podman takes no run root longer than 50 characters.
    with tempfile.TemporaryDirectory(prefix="nbrw-") as place:
        podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run"]
        podman += ["--storage-driver", "vfs", "pull", "-q", "--tls-verify=false", target]
        done = subprocess.run(podman, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == account.moved[0].blob.digest.hex


@pytest.mark.docker
def test_docker_pulls_what_was_pushed(server, request, image, docker_host):
    """An engine believes registries on loopback without TLS."""
    account = push(image, name(server.host, "nb:v1", request), PLAIN)
    target = f"{server.host}/{name(server.host, 'nb', request).repository}@{account.digest}"
    docker = ["docker", "-H", docker_host]
    subprocess.run([*docker, "pull", "-q", target], check=True, timeout=120)
    said = subprocess.run(
        [*docker, "image", "inspect", "--format", "{{.Id}}", target],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert said.stdout.strip() == str(account.moved[0].blob.digest)
