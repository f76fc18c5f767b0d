"""TensorBoard in a real browser: what users see of a run.

Pictures of the pages are kept in the folder that ARTIFACTS names, else in pytest's.
"""

import os
import pathlib
import time

import pytest
from chromium import Chromium, find_chromium
from tensorboard import default
from tensorboard.program import TensorBoard as Program
from training.tensorboard.runs import LABELS, full_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed here"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A log folder with two runs of different hyperparameters, and their histories."""
    folder = tmp_path_factory.mktemp("logs")
    made = {name: full_run(folder / name, seed) for name, seed in {"first": 1, "second": 2}.items()}
    return folder, made


@pytest.fixture(scope="module")
def address(runs):
    program = Program(default.get_plugins())
    program.configure(logdir=str(runs[0]), port=0, host="localhost", load_fast="false")
    return program.launch()


@pytest.fixture(scope="module")
def browser():
    with Chromium() as opened:
        yield opened


@pytest.fixture
def show(browser, address, request, tmp_path):
    """A function that opens a page, waits for texts, and keeps a picture; the page's text."""

    def open_page(page, *texts, then=lambda: None):
        browser.open(f"{address}{page}")
        text = browser.wait_for(*texts)
        then()
        time.sleep(1)  # animations
        folder = pathlib.Path(os.environ.get("ARTIFACTS", tmp_path))
        browser.screenshot(folder / f"{request.node.name}.png")
        return text

    return open_page


def test_scalars(show):
    text = show(
        "#scalars", "epoch_loss", "batch_learning_rate", "batch_gradient_norm", "throughput"
    )
    assert "first/train" in text and "second/validation" in text


def test_hparams_table_shows_the_best_epochs(show, runs):
    text = show("#hparams", "dropout", "tokenizer", "best val_macro_f1", "best epoch", "字")
    for _, history in runs[1].values():
        assert f"{max(history['val_macro_f1']):.5g}"[:5] in text


def test_precision_recall_curves_have_chinese_names(show):
    show("#pr_curves", *LABELS, "first/validation")


def test_confusion_matrix_images(show):
    show("#images", "confusion_matrix", "first/validation")


def test_text_samples_are_a_table(show):
    show("#text", "samples", "truth", "prediction", "probability", *LABELS)


def test_histograms(show):
    show("#histograms", "embedding")


def test_projector_shows_chinese_words_and_finds_them(show, browser, runs):
    run, _ = runs[1]["first"]
    words = run.pipeline.vocabulary.tokens

    def search():
        browser.write('[label="Search"]', "好")
        browser.wait_for(f"{sum('好' in word for word in words)} matches", "Nearest points")

    show("#projector", "embedding", f"Points: {len(words)}", then=search)
