"""The RO-Crate community's validator, without a network."""

import json
from pathlib import Path

import pytest

_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_NAMES = ("ContainerImage", "containerImage", "environment", "registry", "resourceUsage", "sha256")
# Where the context of RO-Crate 1.1 has another meaning than the one that comes with ro-crate-py.
_OF_1_1 = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/properties/input",
    "output": "https://bioschemas.org/properties/output",
}


class _Answer:
    status_code = 200
    headers = {"Content-Type": "application/ld+json"}

    def __init__(self, value):
        self._value = value
        self.text = json.dumps(value)
        self.content = self.text.encode()
        self.ok = True

    def json(self):
        return self._value


def problems(monkeypatch, crate, profile):
    """What a crate lacks that the profile requires: sentences. Skips without the validator."""
    services = pytest.importorskip("rocrate_validator.services")
    models = pytest.importorskip("rocrate_validator.models")
    http = pytest.importorskip("rocrate_validator.utils.http")
    rocrate = pytest.importorskip("rocrate")
    context = json.loads((Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text())
    context["@context"].update(_OF_1_1)
    known = {
        "https://w3id.org/ro/crate/1.1/context": context,
        "https://w3id.org/ro/terms/workflow-run/context": {
            "@context": {name: _TERMS + name for name in _NAMES}
        },
    }

    def get(self, url, *args, **kwargs):
        return _Answer(known[url])

    monkeypatch.setattr(http.HttpRequester, "get", get, raising=False)
    settings = services.ValidationSettings(
        rocrate_uri=crate,
        profile_identifier=profile,
        requirement_severity=models.Severity.REQUIRED,
        no_cache=True,
    )
    found = services.validate(settings)
    issues = [f"{i.check.identifier}: {i.message}: {i.violatingEntity}" for i in found.get_issues()]
    assert found.passed() is (not issues)
    return issues
