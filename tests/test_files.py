"""Writing files: whole or not at all; reading JSON."""

import os
import stat
import threading

import pytest

from kerasllm.files import atomic_write, read_json_object, replace_file


def test_what_is_written_is_there_after_the_block_and_not_before(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_write(path) as file:
        file.write("味道很好\n")
        assert not path.exists()
    assert path.read_bytes() == "味道很好\n".encode()


def test_an_error_keeps_the_old_content_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_in_replacing_keeps_the_old_content(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"), atomic_write(path) as file:
        file.write("new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_bytes_encodings_and_line_ends_are_as_in_open(tmp_path):
    with atomic_write(tmp_path / "bytes", "wb") as file:
        file.write(b"\x00\xff")
    with atomic_write(tmp_path / "text", encoding="gb18030", newline="\r\n") as file:
        file.write("好\n")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert (tmp_path / "text").read_bytes() == "好\r\n".encode("gb18030")


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "ours") as file:
            file.write("x")
        (tmp_path / "plain").write_text("x")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")]
    assert modes[0] == modes[1] == 0o666 & ~umask


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as file:
        file.write("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_pipe_is_written_and_not_replaced_by_a_file(tmp_path):
    """As root, `--output /dev/null` once made a plain file of /dev/null."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    with atomic_write(path) as file:
        file.write("through")
    reader.join(10)
    assert read == ["through"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_folder_in_the_way_is_an_error(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path):
        pass


def test_replace_file_gives_a_path_beside_with_the_same_ending(tmp_path):
    path = tmp_path / "new" / "model.keras"
    with replace_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".keras"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["model.keras"]


def test_replace_file_keeps_the_old_file_where_writing_fails(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(ValueError, match="half-way"), replace_file(path) as temporary:
        temporary.write_text("half of")
        raise ValueError("half-way")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.keras"]


def test_replace_file_says_so_where_nothing_was_written(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "model.keras"):
        pass


@pytest.mark.parametrize(
    ("content", "problem"), [(b"[1]", "holds no object"), (b"{", "no JSON"), (b"\xff", "no JSON")]
)
def test_file_without_a_json_object_gets_a_sentence(tmp_path, content, problem):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"config.json is broken, it .*{problem}"):
        read_json_object(path)
