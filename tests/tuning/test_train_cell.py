"""One training of a sweep: which rows it learns from, and which epoch is judged."""

import pandas as pd
import pytest

from kerasllm.text import CharTokenizer, TextPipeline
from kerasllm.tuning import Cell, CellTrainer, train_cell

LABELS = ["bad", "good"]


@pytest.fixture
def trainer(tmp_path):
    texts = [f"{'好' if i % 2 else '坏'}{i}" for i in range(80)]
    rows = pd.DataFrame({"text": texts, "label": [LABELS[i % 2] for i in range(80)]})
    pipeline = TextPipeline.fit(texts, tokenizer=CharTokenizer(), labels=LABELS)
    sizes = {"embedding_dim": 4, "units": 4}
    return CellTrainer(tmp_path, pipeline, rows[:60], rows[60:], epochs=4, **sizes)


@pytest.fixture
def batched(monkeypatch):
    """The token ids of each call of `make_batches`, as tuples."""
    calls = []
    make_batches = train_cell.make_batches

    def record(ids, *arguments, **options):
        calls.append([tuple(row) for row in ids])
        return make_batches(ids, *arguments, **options)

    monkeypatch.setattr(train_cell, "make_batches", record)
    return calls


def test_plain_training_is_judged_after_its_last_epoch(trainer, batched):
    figures = trainer(Cell("none", 0.0, 0))
    assert figures["best_epoch"] == figures["epochs"] == 4
    train, valid = batched
    assert len(train) == 60 and len(valid) == 20


def test_stopping_early_never_sees_the_rows_that_judge_it(trainer, batched):
    figures = trainer(Cell("early_stopping", 1.0, 0))
    assert 1 <= figures["best_epoch"] <= figures["epochs"] <= 4
    learned, held_back = map(set, batched)
    judging = {tuple(row) for row in trainer.valid[0]}
    assert len(learned) == 54 and len(held_back) == 6
    assert not learned & held_back and not (learned | held_back) & judging
    assert not (trainer.folder / train_cell.CHECKPOINTS).exists()


def test_augmented_copies_are_of_the_rows_that_are_learned(trainer, batched):
    trainer(Cell("augmentation", 0.1, 0))
    assert len(batched[0]) == 120
