"""A classifier trains on texts whose matrices of scores would not fit into memory."""

import pathlib

import pytest

from kerasllm import native

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_step_on_16384_tokens_takes_less_than_one_heads_matrix_of_scores_more(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    from benchmarks.long_text import train

    result = train("ours", 16384)
    assert result["losses"][-1] < 0.5 * result["losses"][0]
    # The activations that 4 layers keep are about as large as one head's 16,384 x 16,384 scores.
    assert result["megabytes"] < 2 * 1024
