"""The prediction recipe: files, pipes, and a conversation line by line."""

import csv
import io
import os
import selectors
import subprocess
import time

import pytest
from processes import run_python, start_python
from recipe_helpers import PREDICT, read_table

from kerasllm import TextClassifier

LINES = ["这家店真的很满意", "", "太让人失望了，再也不来", "   ", '他说"一般, 还行"', "=1+1", "好"]


@pytest.fixture(scope="module")
def model_dir(finished_run):
    return finished_run[0]


@pytest.fixture(scope="module")
def answers(model_dir):
    """What the classifier says about LINES: (label, probability), none for blank lines."""
    classifier = TextClassifier.load(model_dir)
    return [
        (label, f"{probability:.4f}") if text.strip() else ("", "")
        for text, (label, probability) in zip(LINES, classifier.predict(LINES), strict=True)
    ]


def assert_answers(rows, answers):
    assert [row["text"] for row in rows] == LINES
    assert [row["label"] for row in rows] == [label for label, _ in answers]
    for row, (_, probability) in zip(rows, answers, strict=True):
        assert bool(row["probability"]) == bool(probability)
        if probability:
            assert float(row["probability"]) == pytest.approx(float(probability), abs=2e-4)


@pytest.mark.parametrize(
    ("end", "last_end", "encoding"),
    [
        ("\n", "\n", "utf-8"),
        ("\n", "", "utf-8"),
        ("\r\n", "\r\n", "utf-8-sig"),
        ("\r\n", "", "gb18030"),
        ("\n", "\n", "utf-16"),
    ],
)
def test_file_is_answered_line_by_line_into_a_file(
    model_dir, answers, predict, tmp_path, end, last_end, encoding
):
    (tmp_path / "in.txt").write_bytes((end.join(LINES) + last_end).encode(encoding))
    output = tmp_path / "new" / "out.csv"
    arguments = ["--model-dir", model_dir, "--input", tmp_path / "in.txt", "--output", output]
    predict.main(list(map(str, arguments)))
    assert_answers(read_table(output), answers)
    assert list(read_table(output)[0]) == ["label", "probability", "text"]
    assert output.read_bytes().startswith(b"\xef\xbb\xbf")  # Excel garbled it without the mark


def test_file_is_answered_on_standard_output(model_dir, answers, predict, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("\n".join(LINES), encoding="utf-8")
    predict.main(["--model-dir", str(model_dir), "--input", str(tmp_path / "in.txt")])
    output = capsys.readouterr().out
    assert output.startswith("label,")  # no mark: the next program in the pipe would trip over it
    assert_answers(list(csv.DictReader(io.StringIO(output))), answers)


def test_standard_input_is_answered_into_a_file(model_dir, answers, predict, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(LINES) + "\n"))
    predict.main(["--model-dir", str(model_dir), "--output", str(tmp_path / "out.csv")])
    assert_answers(read_table(tmp_path / "out.csv"), answers)


@pytest.mark.parametrize("content", ["", "\n", "\n\n \n"])
def test_blank_lines_alone_get_blank_answers(model_dir, predict, tmp_path, content):
    (tmp_path / "in.txt").write_text(content)
    output = tmp_path / "out.csv"
    arguments = ["--model-dir", model_dir, "--input", tmp_path / "in.txt", "--output", output]
    predict.main(list(map(str, arguments)))
    rows = read_table(output)
    assert [row["text"] for row in rows] == content.split("\n")[:-1]
    assert all((row["label"], row["probability"]) == ("", "") for row in rows)


def read_line(process, seconds):
    """The next line of a process's output, or an error when it does not come in time."""
    line = b""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(deadline - time.monotonic()):
                raise TimeoutError(f"no whole line after {seconds} s: {line!r}")
            byte = os.read(process.stdout.fileno(), 1)
            assert byte, "the process ended"
            line += byte
    return line.decode()


def test_line_is_answered_before_the_next_is_typed(model_dir, answers):
    process = start_python(
        PREDICT,
        "--model-dir",
        model_dir,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            assert read_line(process, 120) == "label,probability,text\n"
            rows = []
            for text in LINES:
                process.stdin.write(f"{text}\n".encode())
                process.stdin.flush()
                (row,) = csv.reader([read_line(process, 30)])
                rows.append(dict(zip(("label", "probability", "text"), row, strict=True)))
            process.stdin.write("没有换行".encode())
            process.stdin.close()
            assert read_line(process, 30).endswith(",没有换行\n")
            assert process.wait(30) == 0, process.stderr.read().decode()
        finally:
            process.kill()
    assert_answers(rows, answers)


def test_folder_without_a_model_is_refused_in_a_sentence(tmp_path):
    finished = run_python(PREDICT, "--model-dir", tmp_path, input="好\n", status=1)
    assert finished.stderr.strip().splitlines()[-1] == (
        f"error: {tmp_path} holds no trained classifier: model.keras is missing."
    )
    assert "Traceback" not in finished.stderr
    assert finished.stdout == ""


def test_missing_input_is_found_before_the_model_is_loaded(predict, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"new\.txt"):
        predict.main(["--model-dir", "nowhere", "--input", str(tmp_path / "new.txt")])


def test_help_names_every_option(predict, capsys):
    with pytest.raises(SystemExit) as ended:
        predict.main(["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    for option in ("--model-dir", "--input", "--output", "--encoding"):
        assert option in output
