"""What refers to an image goes to a registry with it and comes back; real registry and readers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from provenance_images import write_provenance  # noqa: E402

from nbrw_builder.cli import main  # noqa: E402
from nbrw_builder.image import ENTRYPOINT, INDEX_TYPE  # noqa: E402
from nbrw_builder.image_file import open_image  # noqa: E402
from nbrw_builder.oci_load import docker_archive, transport_name  # noqa: E402
from nbrw_builder.oci_read import DirectoryBlobs  # noqa: E402
from nbrw_builder.oci_referrers import referrers  # noqa: E402
from nbrw_builder.oci_signature import KIND, check_oci, sign_oci  # noqa: E402
from nbrw_builder.registry.client import Access  # noqa: E402
from nbrw_builder.registry.errors import RegistryError  # noqa: E402
from nbrw_builder.registry.pull import pull  # noqa: E402
from nbrw_builder.registry.push import push  # noqa: E402
from nbrw_builder.registry.reference import parse_reference  # noqa: E402
from nbrw_runtime.digest import Digest, digest_bytes  # noqa: E402
from registry_helper import Fault, Proxy, need, registry  # noqa: E402

pytestmark = pytest.mark.integration
PLAIN = Access(plain_http=True)
SBOMS = ["application/spdx+json", "application/vnd.cyclonedx+json"]
LIST, API = "/manifests/sha256-", "/referrers/sha256:"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """A registry that keeps no list of referrers (docker-registry 2.8), behind a proxy."""
    with registry(tmp_path_factory.mktemp("registry")) as server, Proxy(server.host) as found:
        yield found


@pytest.fixture(autouse=True)
def caller(tmp_path, monkeypatch, proxy):
    """A cache of the test's own, and no trouble from tests before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    proxy.faults.clear()
    proxy.seen.clear()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An OCI directory with two bills of materials and a signature, and the cache of its build."""
    place = tmp_path_factory.mktemp("built")
    write_provenance(place / "image", place / "cache", sbom=("spdx", "cyclonedx"))
    sign_oci(place / "image", lambda payload: b"signed by nobody")
    return place


@pytest.fixture
def image(tmp_path, built):
    """A copy that the test may change."""
    return shutil.copytree(built / "image", tmp_path / "image")


def name(proxy, request, tag="v1"):
    """An image name of the test's own."""
    return parse_reference(f"docker://{proxy.host}/{request.node.name.split('[')[0]}:{tag}")


def files(root):
    return {path.name: path.read_bytes() for path in (root / "blobs/sha256").iterdir()}


def index(root):
    return json.loads((root / "index.json").read_bytes())["manifests"]


def kinds(root):
    return sorted(found.kind for found in referrers(DirectoryBlobs(root), ""))


def listed(digest):
    return digest.replace(":", "-")


def output(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_refers_to_an_image_comes_back_with_it(tmp_path, proxy, request, image):
    """Every byte, also where the registry keeps no list of it; the second push sends nothing."""
    target = name(proxy, request)
    sent = push(image, target, PLAIN)
    assert sorted(sent.referrers) == [*SBOMS, KIND]
    account = pull(target, tmp_path / "out", PLAIN)
    assert sorted(account.referrers) == [*SBOMS, KIND] and account.digest == sent.digest
    assert files(tmp_path / "out") == files(image)
    ours = {entry["digest"]: entry for entry in index(tmp_path / "out")}
    for entry in index(image)[1:]:
        assert ours[entry["digest"]] == entry  # with the marks that cosign looks for
    assert ours[sent.digest]["annotations"]["kind"] == index(image)[0]["annotations"]["kind"]
    open_image(tmp_path / "out").verify()
    assert len(check_oci(DirectoryBlobs(tmp_path / "out"), "", ())) == 1

    proxy.seen.clear()
    assert push(tmp_path / "out", target, PLAIN).travelled == 0
    assert not [seen for seen in proxy.requests("PUT") if "sha256-" in seen.path]
    again = pull(target, tmp_path / "out", PLAIN)
    assert again.travelled == 0 and files(tmp_path / "out") == files(image)


def test_the_image_is_what_other_readers_find(tmp_path, proxy, request, image):
    """skopeo and podman, in the registry and in the layout that was pulled, by tag or digest."""
    need("skopeo")
    sent = push(image, name(proxy, request), PLAIN)
    found = output("skopeo", "inspect", "--tls-verify=false", str(name(proxy, request)))
    assert json.loads(found)["Digest"] == sent.digest
    by_digest = name(proxy, request).at(Digest(sent.digest))
    for reference in (name(proxy, request), by_digest):
        out = tmp_path / f"out-{reference.tag}"
        pull(reference, out, PLAIN)
        found = json.loads(output("skopeo", "inspect", f"oci:{transport_name(out)}"))
        assert found["Digest"] == sent.digest


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: podman's storage in a directory")
def test_podman_takes_a_layout_with_referrers(image):
    """As `nbrw run` names it to podman."""
    need("podman")
    # Not pytest's directory: podman takes no run root longer than 50 characters.
    with tempfile.TemporaryDirectory(prefix="nbrw-") as place:
        podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run"]
        podman += ["--storage-driver", "vfs", "pull", "-q", f"oci:{transport_name(image)}"]
        manifest = json.loads(files(image)[index(image)[0]["digest"].removeprefix("sha256:")])
        assert f"sha256:{output(*podman).strip()}" == manifest["config"]["digest"]


@pytest.mark.docker
def test_docker_loads_a_layout_with_referrers(tmp_path, image, docker_host):
    """As `nbrw run` sends it to the engine: the image alone."""
    (tmp_path / "a.tar").write_bytes(b"".join(docker_archive(image, "oci-dir")))
    docker = ("docker", "-H", docker_host)
    said = output(*docker, "load", "--quiet", "-i", str(tmp_path / "a.tar"))
    loaded = said.rpartition(" ")[2].strip()
    found = output(*docker, "image", "inspect", "--format", "{{.Config.Entrypoint}}", loaded)
    assert found.strip() == f"[{ENTRYPOINT}]"


def test_an_image_goes_alone_if_it_is_asked_for(tmp_path, proxy, request, image, capsys):
    """`--no-referrers`, of both commands; else they are named."""
    target = name(proxy, request)
    words = ["--plain-http", "--no-referrers"]
    assert main(["push", *words, str(image), str(target)]) == 0
    assert not proxy.requests("PUT", "manifests/sha256")
    pull(target, tmp_path / "none", PLAIN)
    assert kinds(tmp_path / "none") == []
    assert main(["push", "--plain-http", str(image), str(target)]) == 0
    assert "with what refers to it: application/" in capsys.readouterr().out
    assert main(["pull", *words, str(target), str(tmp_path / "alone")]) == 0
    assert kinds(tmp_path / "alone") == [] and len(index(tmp_path / "alone")) == 1
    capsys.readouterr()
    assert main(["pull", "--plain-http", "--json", str(target), str(tmp_path / "alone")]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["referrers"]) == kinds(image)


def test_a_registry_that_lists_referrers_is_asked_for_its_list(tmp_path, proxy, request, image):
    """Page by page; the tag that others keep the list under is neither read nor written."""
    target = name(proxy, request)
    digest = push(image, target, PLAIN).digest
    headers = {"Content-Type": INDEX_TYPE}
    entries = index(image)[1:]
    proxy.seen.clear()
    for number, entry in enumerate(reversed(entries)):
        after = f"/v2/{target.repository}/referrers/{digest}?last={number}"
        link = {"Link": f'<{after}>; rel="next"'} if number + 1 < len(entries) else {}
        page = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
        body = json.dumps(page).encode()
        proxy.faults.append(Fault("GET", API, 1, 200, {**headers, **link}, body=body))
    pull(target, tmp_path / "out", PLAIN)
    assert kinds(tmp_path / "out") == kinds(image)
    assert len(proxy.requests("GET", API)) == 3
    assert not proxy.requests("GET", listed(digest))

    proxy.seen.clear()
    known = Fault("PUT", "manifests/sha256:", 3, 201, {"OCI-Subject": digest})
    proxy.faults[:] = [known]
    push(image, target, PLAIN)
    assert known.times == 0 and not proxy.requests("PUT", listed(digest))


@pytest.mark.parametrize("answer", [
    Fault("GET", API, 1, 401), Fault("GET", API, 1, 200, body=b"<html>hello</html>"),
])  # fmt: skip
def test_whatever_else_a_registry_says_to_strange_questions_is_no_list(
    tmp_path, proxy, request, image, answer
):
    """To who was given the image: then the tag is looked at."""
    target = name(proxy, request)
    push(image, target, PLAIN)
    proxy.faults.append(answer)
    pull(target, tmp_path / "out", PLAIN)
    assert answer.times == 0 and kinds(tmp_path / "out") == kinds(image)


def test_signatures_of_several_people_come_together(tmp_path, proxy, request, image):
    """What one of them pushed stays in the list, what one has stays in the layout."""
    target = name(proxy, request)
    push(image, target, PLAIN)
    pull(target, tmp_path / "bert", PLAIN)
    pull(target, tmp_path / "carl", PLAIN)
    for who in ("bert", "carl"):
        sign_oci(tmp_path / who, lambda payload, who=who: f"signed by {who}".encode())
    push(tmp_path / "bert", target, PLAIN)
    pull(target, tmp_path / "carl", PLAIN)
    push(tmp_path / "carl", target, PLAIN)
    pull(target, tmp_path / "out", PLAIN)
    for who, count in (("bert", 2), ("carl", 3), ("out", 3)):
        assert len(check_oci(DirectoryBlobs(tmp_path / who), "", ())) == count
        open_image(tmp_path / who).verify()


def test_what_is_listed_and_not_there_or_of_another_image_is_left_out(
    tmp_path, proxy, request, image
):
    """A list is a hint, which anybody may write."""
    target = name(proxy, request)
    digest = push(image, target, PLAIN).digest
    entries = index(image)
    page = {"schemaVersion": 2, "manifests": [
        entries[0], entries[1] | {"digest": "sha256:" + "0" * 64}, entries[2],
    ]}  # fmt: skip
    body = json.dumps(page).encode()
    proxy.faults.append(Fault("GET", LIST, 1, 200, {"Content-Type": INDEX_TYPE}, body=body))
    account = pull(target, tmp_path / "out", PLAIN)
    assert account.digest == digest and len(account.referrers) == 1


@pytest.mark.parametrize("fault", [
    Fault("PUT", "manifests/sha256:", 1, 400),
    Fault("GET", LIST, 1, 200, body=b"<html>"),
])  # fmt: skip
def test_a_registry_that_takes_no_referrers_gets_no_tag(proxy, request, image, fault):
    """The sentence says how to push the image alone."""
    proxy.faults.append(fault)
    target = name(proxy, request, f"v{fault.status}")
    with pytest.raises(RegistryError, match="--no-referrers leaves out"):
        push(image, target, PLAIN)
    assert not proxy.requests("PUT", f"manifests/{target.tag}")


def test_a_partial_image_has_them_too_and_stays_partial(tmp_path, proxy, request, image, capsys):
    """And so when it is made whole by the command that it names: what was missing travels."""
    target = name(proxy, request)
    push(image, target, PLAIN)
    out = tmp_path / "out"
    part = pull(target, out, PLAIN, start=3)
    left = {found.blob.name for found in part.moved if found.state.value == "left"}
    assert left == {"cell:1"} and kinds(out) == kinds(image)
    assert open_image(out).kind == "oci-partial"
    with pytest.raises(Exception, match="nbrw pull --plain-http"):
        push(out, target, PLAIN)
    rest = pull(target, out, PLAIN)
    assert {found.blob.name for found in rest.moved if found.travelled} == left
    assert open_image(out).kind == "oci-dir" and files(out) == files(image)


def test_a_build_keeps_what_others_wrote_to_the_byte(built, image):
    """Their manifests have annotations and configurations of their own."""
    entry = index(image)[1]
    old = image / "blobs/sha256" / entry["digest"].removeprefix("sha256:")
    more = {"artifactType": "text/x-theirs", "annotations": {"a": "b"}}
    data = json.dumps(json.loads(old.read_bytes()) | more, indent=2).encode()
    (image / "blobs/sha256" / digest_bytes(data).hex).write_bytes(data)
    value = json.loads((image / "index.json").read_bytes())
    theirs = entry | {"digest": str(digest_bytes(data)), "size": len(data)} | more
    value["manifests"].append(theirs)
    (image / "index.json").write_text(json.dumps(value))
    before = files(image)
    write_provenance(image, built / "cache", sbom=("spdx", "cyclonedx"))
    assert files(image) == before
