"""`nbrw inspect` reads images of every kind without running them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from nbrw_builder.inspect_image import inspect_image, print_description
from nbrw_runtime.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))

from images import write  # noqa: E402


@pytest.mark.parametrize("name", ["image", "image.tar"])
def test_an_image_is_described_with_its_file(tmp_path, name):
    """Layers come from the recipe, kind and size from the file."""
    write(tmp_path / name, tmp_path / "cache")
    value = json.loads(json.dumps(inspect_image(tmp_path / name)))
    assert [layer["name"] for layer in value["layers"]] == ["system", "cell:1", "cell:2"]
    assert value["image"]["kind"] == ("oci-tar" if name.endswith("tar") else "oci-dir")
    assert value["image"]["size"] > 0


def test_the_tables_show_layers_and_no_markup_is_obeyed(tmp_path):
    """Text of a notebook that looks like rich's markup is shown as it is."""
    write(tmp_path / "image", tmp_path / "cache")
    value = inspect_image(tmp_path / "image")
    value["cells"] = [
        {"number": 1, "status": "ok", "seconds": 1.0, "size": 5, "stored": [], "omitted": [],
         "first_line": "x = d['a'][red]", "outside": []},
    ]  # fmt: skip
    value["notes"] = ["[bold]a note"]
    out = io.StringIO()
    print_description(value, Console(file=out, width=120))
    assert "x = d['a'][red]" in out.getvalue()
    assert "note: [bold]a note" in out.getvalue()
    assert "cell:2" in out.getvalue()


def test_what_is_no_image_is_refused(tmp_path):
    """The sentence names the file."""
    (tmp_path / "a.sif").write_bytes(b"not an image")
    with pytest.raises(UsageError, match="a.sif"):
        inspect_image(tmp_path / "a.sif")
