"""The projector's files, read by the plugin of the installed TensorBoard."""

import json
import time

import keras
import numpy as np
import pytest
from tensorboard import default
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_ingester
from tensorboard.program import TensorBoard as Program
from training.tensorboard.runs import Run
from werkzeug.test import Client
from werkzeug.wrappers import Response

from kerasllm.training import TensorBoard
from kerasllm.training.tensorboard import EmbeddingProjector, write_projector

PREFIX = "/data/plugin/projector"


def serve(folder):
    """A client of TensorBoard's own web application on a log folder, without a server."""
    program = Program(default.get_plugins())
    program.configure(logdir=str(folder), load_fast="false", reload_interval=0)
    ingester = data_ingester.LocalDataIngester(program.flags)
    ingester.start()
    app = application.TensorBoardWSGIApp(
        program.flags, program.plugin_loaders, ingester.data_provider
    )
    return Client(app, Response)


def wait_for_runs(client, seconds=30):
    """The runs that the plugin knows; logs are read by another thread of TensorBoard."""
    end = time.monotonic() + seconds
    while not (runs := json.loads(client.get(f"{PREFIX}/runs").data)) and time.monotonic() < end:
        time.sleep(0.1)
    return runs


def read(client, run, name):
    query = {"run": run, "name": name}
    info = json.loads(client.get(f"{PREFIX}/info", query_string={"run": run}).data)
    shape = info["embeddings"][0]["tensorShape"]
    tensor = client.get(f"{PREFIX}/tensor", query_string=query).data
    lines = client.get(f"{PREFIX}/metadata", query_string=query).data.decode().splitlines()
    return np.frombuffer(tensor, "float32").reshape(shape), [line.split("\t") for line in lines]


def test_trained_vectors_are_served_with_the_vocabularys_words(tmp_path):
    run = Run()
    tokens = run.pipeline.vocabulary.tokens
    run.fit(TensorBoard(tmp_path / "run", [EmbeddingProjector(tokens)]), epochs=1)
    client = serve(tmp_path)
    assert wait_for_runs(client) == ["run/train"]
    vectors, metadata = read(client, "run/train", "embedding")
    trained = np.array(run.model.get_layer("embedding").embeddings)
    np.testing.assert_allclose(vectors, trained, rtol=1e-5)
    assert metadata[0] == ["token", "id"]
    assert [token for token, _ in metadata[1:]] == tokens
    assert "好" in tokens


def test_values_that_look_like_text_are_served_too(tmp_path):
    """The plugin takes binary vectors for text if the first line happens to be UTF-8: zeros are."""
    write_projector(tmp_path, np.zeros((3, 4)), ["一", "二", "三"], "zeros")
    vectors, _ = read(serve(tmp_path), ".", "zeros")
    np.testing.assert_array_equal(vectors, np.zeros((3, 4)))


def test_tokens_that_would_break_the_table_are_escaped(tmp_path):
    tokens = ["[PAD]", "\t", "\n", " ", "", "a b", "\u200b", "好"]
    write_projector(tmp_path, np.ones((8, 2)), tokens)
    lines = (tmp_path / "embedding_metadata.tsv").read_text(encoding="utf-8").splitlines()
    expected = ["[PAD]", "\\t", "\\n", "␠", "(empty)", "a␠b", "\\u200b", "好"]
    assert [line.split("\t")[0] for line in lines[1:]] == expected


def test_only_the_most_frequent_words_are_shown(tmp_path):
    run = Run()
    part = EmbeddingProjector(run.pipeline.vocabulary.tokens, max_tokens=7)
    run.fit(TensorBoard(tmp_path, [part]), epochs=1)
    assert len((tmp_path / "train" / "embedding_vectors.tsv").read_text().splitlines()) == 7
    assert len((tmp_path / "train" / "embedding_metadata.tsv").read_text().splitlines()) == 8


def two_embeddings():
    ids = keras.Input((None,), dtype="int32")
    layers = [keras.layers.Embedding(9, 2, name=name) for name in ("words", "positions")]
    model = keras.Model(ids, keras.layers.add([layer(ids) for layer in layers]))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": ["a"]}, "one embedding layer, but has 2: words, positions. Name"),
        ({"tokens": ["a"], "layer": "word"}, "one layer .word., but has 0: none. Name"),
        ({"tokens": ["a"] * 10, "layer": "words"}, "10 tokens, but words has 9 ids"),
    ],
)
def test_layer_that_does_not_fit_is_an_error(tmp_path, arguments, message):
    board = TensorBoard(tmp_path, [EmbeddingProjector(**arguments)])
    with pytest.raises(ValueError, match=message):
        data = np.ones((2, 3), "int32"), np.ones((2, 3, 2))
        two_embeddings().fit(*data, verbose=0, callbacks=[board])


def test_rows_without_tokens_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(3, 2\) for 1 tokens"):
        write_projector(tmp_path, np.ones((3, 2)), ["a"])
