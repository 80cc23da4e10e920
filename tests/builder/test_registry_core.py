"""Names, challenges, refusals and accounts: what of a registry is plain values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_builder.registry.account import Account, Moved, State, as_json, lines
from nbrw_builder.registry.challenge import Challenge, choose, parse_challenges, scopes
from nbrw_builder.registry.descriptor import Blob, choose_manifest, read_manifest, sif_manifest
from nbrw_builder.registry.errors import UnknownNameError, explain
from nbrw_builder.registry.reference import is_reference, parse_reference
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import FormatError, UsageError

DIGEST = digest_bytes(b"a")


@pytest.mark.parametrize(
    ("text", "host", "repository", "version"),
    [
        ("docker://reg.org/team/nb:v1", "reg.org", "team/nb", "v1"),
        ("docker://reg.org:5000/nb", "reg.org:5000", "nb", "latest"),
        ("oras://localhost/a/b/c:1.0", "localhost", "a/b/c", "1.0"),
        ("docker://[::1]:5000/nb:v1", "[::1]:5000", "nb", "v1"),
        (f"docker://reg.org/nb@{DIGEST}", "reg.org", "nb", str(DIGEST)),
        (f"docker://reg.org/nb:v1@{DIGEST}", "reg.org", "nb", str(DIGEST)),
        ("docker://team/nb", "docker.io", "team/nb", "latest"),
        ("docker://debian:12", "docker.io", "library/debian", "12"),
        ("docker://index.docker.io/team/nb", "docker.io", "team/nb", "latest"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text, host, repository, version):
    """Host, repository and version; without a host it is Docker Hub's."""
    found = parse_reference(text)
    assert (found.host, found.repository, found.version) == (host, repository, version)
    assert parse_reference(str(found)) == found


def test_docker_hub_answers_at_another_host():
    """Its name in references is not that of its API."""
    assert parse_reference("docker://debian").api_host == "registry-1.docker.io"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("http://reg.org/nb", "neither docker:// nor oras://"),
        ("docker://reg.org/Team/nb", "no repository"),
        ("docker://reg.org/", "no repository"),
        ("docker://reg.org/nb:a b", "no tag"),
        ("docker://reg.org/nb@sha256:12", "no sha256 digest"),
        ("docker://ada:secret@reg.org/nb", "credentials do not belong there"),
        ("docker://reg.org/../nb", "no repository"),
        ("docker://reg.org?x/nb", "no host"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_cause(text, cause):
    """And with how one is written."""
    with pytest.raises(UsageError, match=cause) as error:
        parse_reference(text)
    assert "docker://host" in str(error.value)


def test_only_registries_names_are_taken_for_such():
    """A file may have a colon, too."""
    assert is_reference("docker://a/b") and is_reference("oras://a/b")
    assert not is_reference("a:b.tar") and not is_reference("docker-daemon:a:b")


def test_a_token_is_preferred_to_the_password():
    """Whatever the order; commas and quotes inside of strings are none of the header's."""
    header = (
        'Basic realm="a, \\"b\\"", Bearer realm="https://t.org/token",service="reg.org",'
        'scope="repository:nb:pull,push",error=insufficient'
    )
    basic, bearer = parse_challenges(header)
    assert basic == Challenge("basic", 'a, "b"')
    assert bearer.realm == "https://t.org/token" and bearer.scope == "repository:nb:pull,push"
    assert choose((basic, bearer)) is bearer and choose((bearer, basic)) is bearer
    assert choose((basic,)) is basic
    assert choose(parse_challenges("Negotiate")) is None


@given(st.text(max_size=60))
def test_no_header_is_too_strange(header):
    """What cannot be read is no challenge."""
    for found in parse_challenges(header):
        assert found.scheme


def test_a_token_is_asked_for_what_is_done():
    """Reading the repositories that blobs are mounted from, writing the own, each once."""
    assert scopes("a/b", False) == ("repository:a/b:pull",)
    assert scopes("a/b", True, ["c", "a/b", "c"]) == (
        "repository:a/b:pull,push", "repository:c:pull",
    )  # fmt: skip


def refusal(code, message="no", detail=None):
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "credentials", "said"),
    [
        (401, b"", "", "credentials and none were found; `docker login`"),
        (401, b"", "/h/config.json", "refuses the credentials of /h/config.json"),
        (403, refusal("DENIED"), "/h/c", "does not allow it with /h/c"),
        (403, refusal("DENIED", "quota exceeded"), "", "quota there is used up; delete old tags"),
        (404, refusal("NAME_UNKNOWN"), "", "no such repository, tag or digest"),
        (413, b"<html>", "", "nothing so large"),
        (429, b"", "", "too many requests"),
        (500, refusal("UNKNOWN"), "", r"failed \(500\)"),
        (507, b"", "", "no room"),
        (500, refusal("UNKNOWN", "write: no space left on device"), "", "no room"),
        (418, b"", "", r"refused \(418\)"),
    ],
)
def test_a_refusal_is_told_with_its_cause_and_a_remedy(status, body, credentials, said):
    """The act begins the sentence."""
    error = explain("push x to y", status, body, credentials=credentials)
    with pytest.raises(type(error), match=f"^push x to y: .*{said}"):
        raise error


def test_exit_codes_tell_a_wrong_name_from_a_registry_in_trouble():
    """2 for what the caller can put otherwise, 5 for what is there outside."""
    assert explain("a", 404, b"").exit_code == UnknownNameError.exit_code == 2
    assert {explain("a", status, b"").exit_code for status in (401, 403, 429, 500)} == {5}


def test_what_a_registry_says_cannot_steer_a_terminal():
    """Control characters are left out, and a long text is cut."""
    text = str(explain("a", 500, refusal("UNKNOWN", "\x1b[2Jx" + "y" * 1000)))
    assert "\x1b" not in text and len(text) < 500


def test_files_of_credentials_that_cannot_be_read_are_named():
    """Only where credentials could be the reason."""
    assert "/h/c is broken" in str(explain("a", 401, b"", problems=["/h/c is broken"]))
    assert "/h/c is broken" not in str(explain("a", 500, b"", problems=["/h/c is broken"]))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'{"schemaVersion":1}', b'{"schemaVersion":2,"config":{},"layers":[]}'],
)
def test_a_manifest_that_is_none_is_refused(data):
    """With its name."""
    with pytest.raises(FormatError, match="read reg/x: not a manifest"):
        read_manifest(data, "reg/x")


def test_a_sif_is_stored_as_apptainer_stores_it():
    """One layer of Apptainer's type; the same file gives the same manifest."""
    made = sif_manifest(DIGEST, 1, "a.sif")
    assert made.is_sif and made.layers[0].digest == DIGEST
    assert made.config.media_type == "application/vnd.sylabs.sif.config.v1+json"
    assert made.digest == sif_manifest(DIGEST, 1, "a.sif").digest
    value = json.loads(made.data)
    assert value["layers"][0]["annotations"] == {"org.opencontainers.image.title": "a.sif"}


def entry(architecture, content):
    return {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": str(digest_bytes(content)),
        "size": 1,
        "platform": {"os": "linux", "architecture": architecture},
    }


def test_of_an_index_the_image_for_this_machine_is_taken():
    """The only one whatever it is for; none if there are several for others."""
    both = json.dumps({"manifests": [entry("arm64", b"1"), entry("amd64", b"2")]}).encode()
    assert choose_manifest(both, "x", "amd64") == digest_bytes(b"2")
    one = json.dumps({"manifests": [entry("arm64", b"1")]}).encode()
    assert choose_manifest(one, "x", "amd64") == digest_bytes(b"1")
    with pytest.raises(UsageError, match="no image for linux on riscv64"):
        choose_manifest(both, "x", "riscv64")


def test_an_account_says_what_travelled_and_what_did_not():
    """Bytes by blob for scripts; a person is told the share."""
    blobs = [Blob(digest_bytes(bytes([n])), 1000 * (n + 1), "t", f"cell:{n}") for n in range(3)]
    moved = (
        Moved(blobs[0], State.SENT, 900, 100),
        Moved(blobs[1], State.MOUNTED),
        Moved(blobs[2], State.PRESENT),
    )
    account = Account("push", "docker://r/a:v1", "sha256:x", moved, 1.5)
    value = as_json(account)
    assert (value["travelled"], value["saved"]) == (900, 5100)
    assert [found["state"] for found in value["blobs"]] == ["sent", "mounted", "present"]
    assert value["blobs"][0]["resumed"] == 100
    (text,) = lines(account)
    assert text == (
        "docker://r/a:v1: sent 900 B, 3 kB there already, 2 kB mounted, "
        "100 B from an interrupted push (15.0 % of the image)"
    )
    assert "cell:0" in lines(account, each=True)[0] and len(lines(account, each=True)) == 2
