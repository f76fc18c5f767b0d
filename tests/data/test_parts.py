"""read_parts: what is split off, cut and refused."""

import pandas as pd
import pytest

from kerasllm.data import read_parts, read_table


@pytest.fixture
def tables(tmp_path):
    """Paths of a table of 400 rows in two uneven classes, and of one with a third class."""
    texts = [f"text number {i}" for i in range(400)]
    labels = ["rare" if i % 4 == 0 else "common" for i in range(400)]
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "rows.csv", index=False)
    other = pd.DataFrame({"text": ["one more", "another"], "label": ["common", "unseen"]})
    other.to_csv(tmp_path / "other.csv", index=False)
    return tmp_path


def test_what_is_missing_is_split_off(tables, capsys):
    parts = read_parts({"train": tables / "rows.csv", "valid": None})
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 320,
        "valid": 40,
        "test": 40,
    }
    assert "split: train 320 rows, valid 40 rows, test 40 rows" in capsys.readouterr().out
    parts = read_parts({"train": tables / "rows.csv"}, with_test=False)
    assert sorted(parts) == ["train", "valid"]


def test_training_rows_are_cut_by_class_and_the_same_for_each_seed(tables, capsys):
    paths = {"train": tables / "rows.csv", "valid": tables / "rows.csv"}
    cuts = [read_parts(paths, seed=seed, train_rows=100)["train"] for seed in (0, 1)]
    assert cuts[0].equals(cuts[1])
    assert cuts[0]["label"].value_counts().to_dict() == {"common": 75, "rare": 25}
    assert set(cuts[0]["text"]) < set(read_table(tables / "rows.csv")[0]["text"])
    assert "cut: train 100 rows" in capsys.readouterr().out
    assert len(read_parts(paths, train_rows=400)["train"]) == 400


def test_labels_without_a_training_row_are_refused(tables):
    with pytest.raises(ValueError, match=r"The valid rows have labels .*: unseen\. Add"):
        read_parts({"train": tables / "rows.csv", "valid": tables / "other.csv"})
