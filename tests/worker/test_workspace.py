import os

import pytest

from worker.workspace import Workspace


@pytest.fixture
def workspace():
    made = Workspace()
    yield made
    made.remove()


def test_an_output_directory_lies_in_the_childs_part_and_goes_with_its_files(workspace):
    with workspace.output() as output:
        assert output.is_relative_to(workspace.shared)
        (output / "file").write_text("x")
    assert not output.exists()


def test_a_collected_file_is_out_of_the_childs_reach(workspace):
    with workspace.output() as output:
        (output / "made").write_text("x")
        with workspace.collected(output / "made") as path:
            assert path.read_text() == "x"
            assert not path.is_relative_to(workspace.shared)
            assert not (output / "made").exists()
        assert not path.exists()


@pytest.mark.parametrize("lure", [os.symlink, os.link])
def test_a_link_to_somebodys_secret_is_not_followed(workspace, tmp_path, lure):
    secret = tmp_path / "token"
    secret.write_text("secret")
    with workspace.output() as output:
        lure(secret, output / "made")
        with pytest.raises(OSError, match="no file of its own"), workspace.collected(output / "made"):
            pass
    assert secret.read_text() == "secret"


def test_a_named_pipe_is_not_waited_for(workspace):
    with workspace.output() as output:
        os.mkfifo(output / "made")
        with pytest.raises(OSError, match="no file of its own"), workspace.collected(output / "made"):
            pass


def test_what_was_not_made_is_missed(workspace):
    with workspace.output() as output, pytest.raises(FileNotFoundError), workspace.collected(output / "made"):
        pass


def test_nothing_is_left(workspace):
    root = workspace.shared.parent
    workspace.remove()
    assert not root.exists()
