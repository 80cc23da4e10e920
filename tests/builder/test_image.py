"""OCI documents."""

import json

import pytest

from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.errors import BuildError
from nbrw_builder.image import Image, ImageConfig, LayerBlob
from nbrw_builder.layer import pack
from nbrw_runtime.digest import digest_bytes

LAYER = pack(LayerPlan("cell:3", (Entry("/nbrw.1/f", data=b"x"),), (3,), "/nbrw.1"))


def test_the_configuration_names_diff_ids_and_entry_point():
    """The configuration holds what an engine needs to run the image, and no time."""
    config = json.loads(Image((LAYER,), ImageConfig(variables={"A": "1"})).config_bytes())
    assert config["rootfs"]["diff_ids"] == [str(LAYER.diff_id)]
    assert config["config"]["Entrypoint"] == ["/nbrw/bin/nbrw"]
    assert config["config"]["Env"] == ["A=1"]
    assert config["config"]["WorkingDir"] == "/nbrw/work"
    assert "created" not in config


def test_a_layer_descriptor_tells_its_cells():
    """Annotations link a layer to the cells whose checkpoints it holds."""
    code = digest_bytes(b"code")
    blob = LayerBlob(LAYER, digest_bytes(b"gz"), 7)
    image = Image((LAYER,), ImageConfig(cell_digests={3: code}))
    (found,) = json.loads(image.manifest_bytes([blob]))["layers"]
    assert found["mediaType"].endswith("tar+gzip")
    assert found["annotations"] == {
        "io.github.nbrw.layer.name": "cell:3",
        "io.github.nbrw.layer.directory": "/nbrw.1",
        "io.github.nbrw.cell.index": "3",
        "io.github.nbrw.cell.code-digest": str(code),
    }


def test_a_path_of_two_kinds_is_refused():
    """A path that is a directory in one layer and a link in another stops the build."""
    below = pack(LayerPlan("system", (Entry("/lib", target="usr/lib"),)))
    above = pack(LayerPlan("data", (Entry("/lib/x", data=b""),)))
    with pytest.raises(BuildError, match="/lib is a directory in one"):
        Image((below, above), ImageConfig())


def test_more_layers_than_docker_mounts_are_refused():
    """Too many layers are an error of the plan, said before anything is written."""
    with pytest.raises(BuildError, match="126 layers"):
        Image((LAYER,) * 126, ImageConfig())
