"""What nbrw writes as an OCI image: the published schemas and the format's page agree with it."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path

import pytest
import requests

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from images import write  # noqa: E402

from nbrw_builder.image import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE, OWN, PREDEFINED  # noqa: E402
from nbrw_builder.oci_referrers import EMPTY  # noqa: E402
from nbrw_builder.oci_signature import sign_oci  # noqa: E402
from nbrw_builder.registry.client import Access  # noqa: E402
from nbrw_builder.registry.pull import pull  # noqa: E402
from nbrw_builder.registry.push import push  # noqa: E402
from nbrw_builder.registry.reference import parse_reference  # noqa: E402
from nbrw_builder.registry.referrers import referrers_tag  # noqa: E402
from nbrw_builder.registry.source import sif_source  # noqa: E402
from nbrw_runtime.digest import Digest, digest_bytes  # noqa: E402
from notebook_helper import ROOT, run, write_notebook  # noqa: E402
from oci_schemas import descriptors, need_schemas, problems  # noqa: E402
from registry_helper import registry  # noqa: E402

pytestmark = pytest.mark.integration
LAYOUT_TYPE = "application/vnd.oci.layout.header.v1+json"
PLAIN = Access(plain_http=True)
KEYS = (OWN, PREDEFINED, "io.containerd.", "dev.cosignproject.")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A real build with all that can refer to it, as a directory, in a registry and back."""
    place = tmp_path_factory.mktemp("written")
    (place / "author").mkdir()
    write_notebook(place / "author/nb.ipynb", "a = list(range(10_000))", "print(2)")
    words = ("nb.ipynb", "-o", "../image", "--minimal", "--sbom", "spdx", "--sbom", "cyclonedx")
    cache = {"XDG_CACHE_HOME": str(place / "cache"), "NBRW_CACHE_DIR": ""}
    done = run("nbrw-build", *words, cwd=place / "author", **cache)
    assert done.returncode == 0, done.stderr
    sign_oci(place / "image", lambda payload: b"a signature")
    for compression in ("zstd", "none"):
        write(place / compression, place / "builds", compression=compression)
    with registry(place / "registry") as server:
        target = parse_reference(f"docker://{server.host}/team/nb:v1")
        digest = push(place / "image", target, PLAIN, cache=place / "builds").digest
        pull(target, place / "part", PLAIN, start=2, cache=place / "builds")
        address = f"http://{server.host}/v2/team/nb/manifests/{referrers_tag(Digest(digest))}"
        answer = requests.get(address, headers={"Accept": INDEX_TYPE}, timeout=60)
        (place / "referrers.json").write_bytes(answer.content)
    return place


@pytest.fixture(scope="module")
def documents(place):
    """Everything by name: its media type, and what it says."""
    found = {}
    for root in ("image", "part", "zstd", "none"):
        found[f"{root} layout"] = LAYOUT_TYPE, read(place / root / "oci-layout")
        index = found[f"{root} index"] = INDEX_TYPE, read(place / root / "index.json")
        for number, entry in enumerate(index[1]["manifests"]):
            manifest = blob(place / root, entry)
            found[f"{root} manifest {number}"] = MANIFEST_TYPE, manifest
            if manifest["config"]["mediaType"] == CONFIG_TYPE:
                found[f"{root} config"] = CONFIG_TYPE, blob(place / root, manifest["config"])
    found["referrers"] = INDEX_TYPE, read(place / "referrers.json")
    (place / "a.sif").write_bytes(b"any bytes")
    found["SIF"] = MANIFEST_TYPE, json.loads(sif_source(place / "a.sif").manifest.data)
    return found


def read(path):
    return json.loads(path.read_bytes())


def blob(root, entry):
    data = (root / "blobs/sha256" / Digest(entry["digest"]).hex).read_bytes()
    assert (digest_bytes(data), len(data)) == (Digest(entry["digest"]), entry["size"])
    return json.loads(data)


def test_all_documents_hold_to_the_published_schemas(documents):
    """Index, manifests, configuration, layout; artifacts of referrers and of a SIF."""
    need_schemas()
    assert len(documents) > 15
    found = {name: problems(*document) for name, document in documents.items()}
    assert found == dict.fromkeys(documents, [])


def spoilt(value, *path, to):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return value


@pytest.mark.parametrize(
    ("name", "path", "to"),
    [
        ("image manifest 0", ("schemaVersion",), 1),
        ("image manifest 0", ("layers", 0, "digest"), "not a digest"),
        ("image manifest 0", ("annotations",), {"a": 1}),
        ("image manifest 1", ("subject", "size"), "7"),
        ("image manifest 1", ("artifactType",), "sbom"),
        ("image index", ("manifests", 0, "platform"), {"os": "linux"}),
        ("image config", ("rootfs",), {}),
        ("image layout", ("imageLayoutVersion",), "2"),
    ],
)
def test_the_schemas_find_what_is_wrong(documents, name, path, to):
    """Else the test above says nothing."""
    need_schemas()
    kind, value = documents[name]
    assert problems(kind, spoilt(value, *path, to=to))


def test_artifacts_are_as_the_specification_words_it(documents):
    """What no schema says: an empty configuration asks for an artifactType, and is `{}`."""
    artifacts = [value for _, value in documents.values() if "subject" in value]
    assert len(artifacts) == 6
    for value in artifacts:
        assert value["artifactType"]
        assert value["config"]["digest"] == str(digest_bytes(EMPTY))
        assert value["layers"]
    named = {entry["digest"] for entry in documents["image index"][1]["manifests"]}
    assert {value["subject"]["digest"] for value in artifacts} <= named


def test_the_page_of_the_format_names_what_is_written(documents):
    """Media types and annotations: all that are written are named there, and the other way."""
    said = set()
    for page in ("format.md", "format/image.md"):
        for text in re.findall(r"`([^`\n]+)`", (ROOT / "docs" / page).read_text()):
            if text.startswith(("application/", *KEYS)):
                said.add(text)
    written = set()
    for _, value in documents.values():
        config = value.get("config", {})
        for holder in (value, *descriptors(value)):
            written |= {holder[key] for key in ("mediaType", "artifactType") if key in holder}
            written |= set(holder.get("annotations", {}))
        written |= set(config.get("Labels", {}))
    # `kind` is a word among others on the page.
    assert written - {"kind"} == said
