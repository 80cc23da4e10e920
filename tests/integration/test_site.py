"""The target site is what a cluster is: users without root, Apptainer, Slurm, nothing else."""

import pytest

pytestmark = [pytest.mark.site, pytest.mark.integration]


@pytest.mark.parametrize("user", ["alice", "bob", "ada"])
def test_users_are_ordinary_and_have_homes(site, user):
    """Whoever repeats is not root, and is in a home of their own."""
    said = site.run("sh", "-c", "id -u; pwd", user=user).stdout.split()
    assert int(said[0]) >= 1000
    assert said[1] == f"/home/{user}"


def test_there_is_apptainer_and_no_python(site):
    """What runs at the site comes from the image."""
    assert "apptainer version" in site.run("apptainer", "--version").stdout
    assert site.run("sh", "-c", "command -v python3", check=False).returncode != 0


def test_exit_codes_and_errors_are_passed_on(site):
    """A test that asks the site gets an honest answer."""
    done = site.run("sh", "-c", "echo problem >&2; exit 7", check=False)
    assert (done.returncode, done.stderr) == (7, "problem\n")
    with pytest.raises(AssertionError, match="ended with 7"):
        site.run("sh", "-c", "exit 7")


def test_both_nodes_take_jobs_of_the_author_too(site):
    """ada is known to Slurm's nodes."""
    said = site.run("srun", "-N2", "id", "-un", user="ada").stdout.split()
    assert said == ["ada", "ada"]


def test_files_put_there_belong_to_alice_and_share_is_shared(site, tmp_path):
    """Images arrive by `put` or through the shared folder."""
    (tmp_path / "file").write_text("text\n")
    site.put(tmp_path / "file", dest="put-test/")
    assert site.run("cat", "put-test/file", machine="node1").stdout == "text\n"
    (site.share / "shared-test").write_text("shared\n")
    assert site.run("cat", "/share/shared-test", user="bob", machine="node2").stdout == "shared\n"
