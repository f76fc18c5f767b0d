"""open_run_folder: a run is not mixed with another."""

import json
import os

import pytest

from kerasllm.training import open_run_folder

SETTINGS = {"seed": 1, "learning_rate": 1e-3, "train": "评论.csv", "valid": None, "epochs": 3}


def test_new_run_makes_the_folder_and_keeps_its_settings(tmp_path):
    folder, found = open_run_folder(tmp_path / "runs" / "new", SETTINGS, resume=False)
    assert (folder, found) == (tmp_path / "runs" / "new", False)
    assert json.loads((folder / "settings.json").read_text(encoding="utf-8")) == SETTINGS
    assert "评论.csv" in (folder / "settings.json").read_text(encoding="utf-8")


def test_resume_with_nothing_there_starts_a_new_run(tmp_path):
    assert open_run_folder(tmp_path / "new", SETTINGS, resume=True) == (tmp_path / "new", False)
    assert open_run_folder(tmp_path / "new", SETTINGS, resume=True) == (tmp_path / "new", True)


def test_folder_with_other_files_is_no_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert open_run_folder(str(tmp_path), SETTINGS, resume=False) == (tmp_path, False)
    assert sorted(os.listdir(tmp_path)) == ["notes.txt", "settings.json"]


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"table\.csv is a file; name a folder"):
        open_run_folder(tmp_path / "table.csv", SETTINGS, resume=False)


def test_second_run_is_refused_with_what_to_do(tmp_path):
    open_run_folder(tmp_path, SETTINGS, resume=False)
    with pytest.raises(FileExistsError, match=r"earlier run\. Add --resume .* --output-dir"):
        open_run_folder(tmp_path, SETTINGS | {"seed": 2}, resume=False)
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 1


def test_changed_settings_are_refused_and_named(tmp_path):
    open_run_folder(tmp_path, SETTINGS, resume=False)
    changed = SETTINGS | {"seed": 2, "valid": "v.csv", "epochs": 9}
    with pytest.raises(ValueError) as error:
        open_run_folder(tmp_path, changed, resume=True, may_change=("epochs",))
    assert "seed was 1 and is 2; valid was None and is 'v.csv'. " in str(error.value)
    assert "epochs" not in str(error.value)
    assert json.loads((tmp_path / "settings.json").read_text()) == SETTINGS


def test_what_may_change_is_kept_as_it_is_now(tmp_path):
    open_run_folder(tmp_path, SETTINGS, resume=False)
    open_run_folder(tmp_path, SETTINGS | {"epochs": 9}, resume=True, may_change=("epochs",))
    assert json.loads((tmp_path / "settings.json").read_text())["epochs"] == 9


def test_setting_that_the_earlier_run_did_not_have_is_a_change(tmp_path):
    open_run_folder(tmp_path, SETTINGS, resume=False)
    with pytest.raises(ValueError, match=r"momentum was None and is 0\.9"):
        open_run_folder(tmp_path, SETTINGS | {"momentum": 0.9}, resume=True)


@pytest.mark.parametrize("content", [b"", b'{"seed": 1', b"[1]", b"\xff\xfe\x00"])
def test_damaged_settings_are_a_clear_error(tmp_path, content):
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"settings\.json is damaged .* to start afresh"):
        open_run_folder(tmp_path, SETTINGS, resume=True)
    assert (tmp_path / "settings.json").read_bytes() == content


def test_settings_that_json_cannot_hold_leave_no_file(tmp_path):
    with pytest.raises(TypeError):
        open_run_folder(tmp_path, {"model": object()}, resume=False)
    assert os.listdir(tmp_path) == []


def test_refused_run_once_left_settings_that_refused_the_next_one(tmp_path):
    """A run is one that has begun to learn."""
    options = {"resume": False, "begun": "checkpoints/*"}
    open_run_folder(tmp_path, SETTINGS, **options)  # and then a rate of 1.5 was refused
    (tmp_path / "vocabulary.txt").write_text("it was that far")
    again = SETTINGS | {"seed": 2}
    assert open_run_folder(tmp_path, again, **options) == (tmp_path, False)
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 2
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "state.json").write_text("{}")
    with pytest.raises(FileExistsError, match="earlier run"):
        open_run_folder(tmp_path, again, **options)
    with pytest.raises(ValueError, match="seed was 2 and is 1"):
        open_run_folder(tmp_path, SETTINGS, resume=True, begun="checkpoints/*")
