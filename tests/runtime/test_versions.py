"""Versions of names and files at a point of a walk."""

from __future__ import annotations

from nbrw_runtime.checkpoint import Checkpoint, Omitted, StoredFile, StoredObject
from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.names import names_of
from nbrw_runtime.versions import Changes, Versions, changes_of

CODE = digest_bytes(b"code")


def stored(*names, content="", refers=(), types=()):
    digest = digest_bytes(repr((names, content)).encode())
    return StoredObject(names, digest, digest, refers=refers, types=types)


def after(*checkpoints):
    """Versions after these cells."""
    versions = Versions()
    for number, checkpoint in enumerate(checkpoints, 1):
        versions.apply(number, changes_of(checkpoint, f"t{number}"), f"t{number}", number)
    return versions


def made(**options):
    return Checkpoint(1, CODE, **options)


def test_the_order_of_independent_cells_does_not_matter():
    """Also for code that may use any name."""
    a, b = made(objects=(stored("a"),)), made(objects=(stored("b"),))
    for source in ("a + b", "eval('a')"):
        names = names_of(source)
        assert after(a, b).input_versions(names) == after(b, a).input_versions(names)


def test_code_depends_on_what_functions_refer_to_and_on_nothing_else():
    """f calls g, which reads n."""
    functions = made(objects=(stored("f", refers=("g",)), stored("g", refers=("n",))))
    one, two = made(objects=(stored("n", content="1"),)), made(objects=(stored("n", content="2"),))
    for source, differs in (("f()", True), ("print(1)", False)):
        names = names_of(source)
        versions = [after(functions, n).input_versions(names) for n in (one, two)]
        assert (versions[0] != versions[1]) is differs


def test_binding_a_name_depends_on_its_value_only_if_others_share_it():
    """Who shared it is alone then, which is part of what the cell left."""
    names = names_of("x = 1")
    assert after(made(objects=(stored("x"),))).inputs(names) == set()
    assert "x" in after(made(objects=(stored("x", "y"),))).inputs(names)


def test_what_could_not_be_stored_is_equal_to_nothing():
    """Until it is bound to something that could be."""
    held = made(omitted=(Omitted("c", "Connection", "it cannot be stored"),))
    versions = after(held, made(objects=(stored("c"),)))
    assert after(held).omitted and not versions.omitted
    assert versions.sources["c"][0] == 2


def test_deleted_names_are_gone():
    """With all that was known of them."""
    versions = after(made(objects=(stored("a"),)), made(deleted=("a",)))
    assert versions.names == {} and versions.sources == {}


def test_files_have_the_version_of_who_wrote_them_last():
    """And a listed directory that of the names the notebook made there."""
    data = [Data("/w/in", DataState.READ, (1,), digest=CODE), Data("/w", DataState.LISTED, (2,))]
    versions = Versions(data)
    assert versions.files["/w/in"] == str(CODE) and versions.listing("/w") == ""
    files = (StoredFile("/w/out", CODE, 1),)
    versions.apply(1, changes_of(made(files=files, removed=("/w/in",)), "t"), "t", 1)
    assert versions.files == {"/w/in": None, "/w/out": str(CODE)}
    assert versions.listing("/w") == "+out,-in"


def test_what_a_cell_of_the_repeat_left_can_be_had_from_the_kernel_only():
    """No checkpoint has it."""
    versions = after(made(objects=(stored("a"),)))
    left = stored("a", content="new")
    versions.apply(2, Changes([(("a",), str(left.digest), left)]), "run")
    assert versions.names["a"] == str(left.digest) and "a" not in versions.sources
