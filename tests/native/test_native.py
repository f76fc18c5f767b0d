"""Finding and refusing the native library, and every instruction set by its variable."""

import functools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from kerasllm_ops import loader

from kerasllm import native

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")


def run(code, **environment):
    """Runs Python in a process of its own; (return code, standard output, standard error)."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.returncode, result.stdout, result.stderr


def without_library(statements, files):
    """Code that makes the loader find only `files` (name -> path), then runs the statements."""
    return (
        "import kerasllm_ops.loader as loader\n"
        f"files = {files!r}\n"
        "import pathlib\n"
        "loader.find_file = lambda name: pathlib.Path(files[name]) if name in files else None\n"
        + statements
    )


SAY = """
import kerasllm
print("imported", kerasllm.native.info()["found"], kerasllm.native.info()["problem"])
"""
TRAIN = """
import keras, numpy as np, kerasllm
model = kerasllm.models.EmbeddingLSTMClassifier(20, 2, embedding_dim=4, units=4)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(np.ones((8, 5), "int32"), np.zeros(8, "int32"), verbose=0)
print("trained", kerasllm.native.info()["found"], kerasllm.native.info()["problem"])
"""


@needs_native
def test_info_tells_what_is_there():
    info = native.info()
    assert info["found"] and info["problem"] is None
    assert (
        info["tensorflow_built_against"].split(".")[:2] == info["tensorflow_running"].split(".")[:2]
    )
    assert info["instruction_sets"] == ["generic", "avx2", "avx512", "avx512_bf16", "amx"]
    assert info["instruction_set"] == os.environ.get(
        "KERASLLM_ISA", info["instruction_sets_here"][-1]
    )
    assert "KerasllmLstm" in info["ops"] and "KerasllmLstmGrad" in info["ops"]
    assert info["xla"] is True


@needs_native
def test_the_command_prints_info():
    result = subprocess.run(
        [sys.executable, "-m", "kerasllm.native"], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0
    assert "KerasllmLstm" in result.stdout and "RuntimeWarning" not in result.stderr


def test_a_missing_library_is_said_once_and_training_goes_on():
    code, output, errors = run(without_library(TRAIN, {}))
    assert code == 0, errors
    assert "trained False kerasllm was installed without its native library" in output
    assert errors.count("runs without its fused ops") == 1
    assert "install g++" in errors


def test_a_library_for_another_tensorflow_is_refused_before_it_is_opened(tmp_path):
    (tmp_path / "lib.so").write_bytes(b"not even a library")
    (tmp_path / "info.json").write_text(json.dumps({"tensorflow_version": "2.3.1"}))
    files = {
        loader.LIBRARY: str(tmp_path / "lib.so"),
        loader.BUILD_INFO: str(tmp_path / "info.json"),
    }
    code, output, errors = run(without_library(SAY, files))
    assert code == 0, errors
    assert "built against TensorFlow 2.3.1 and cannot be loaded into" in output
    assert "install kerasllm again" in errors


def test_a_damaged_library_is_a_sentence(tmp_path):
    import tensorflow as tf

    (tmp_path / "lib.so").write_bytes(b"not even a library")
    (tmp_path / "info.json").write_text(json.dumps({"tensorflow_version": tf.__version__}))
    files = {
        loader.LIBRARY: str(tmp_path / "lib.so"),
        loader.BUILD_INFO: str(tmp_path / "info.json"),
    }
    code, output, errors = run(without_library(SAY, files))
    assert code == 0, errors
    assert "the native library does not load" in output


@pytest.mark.parametrize("recorded", [{}, {"tensorflow_version": ""}])
def test_a_build_that_does_not_say_its_tensorflow_is_refused(recorded):
    problem, mend = loader.check_build(recorded, "2.21.0")
    assert "does not say" in problem and mend


def test_a_patch_release_is_no_other_tensorflow():
    assert loader.check_build({"tensorflow_version": "2.21.0"}, "2.21.3") is None
    assert loader.check_build({"tensorflow_version": "2.21.0"}, "2.2.1") is not None


def test_native_0_switches_off_in_silence():
    code, output, errors = run(TRAIN, KERASLLM_NATIVE="0")
    assert code == 0, errors
    assert "trained False KERASLLM_NATIVE=0" in output
    assert "fused ops" not in errors


def test_native_1_makes_a_missing_library_an_error():
    code, _, errors = run(without_library("import kerasllm", {}), KERASLLM_NATIVE="1")
    assert code != 0
    assert "ImportError" in errors and "without its native library" in errors


def test_another_value_of_the_switch_is_refused():
    code, _, errors = run("import kerasllm", KERASLLM_NATIVE="yes")
    assert code != 0 and "takes 0 (off) or 1 (required)" in errors


LSTM_SUMS = """
import os
import numpy as np, tensorflow as tf
if "THREADS" in os.environ:
    tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["THREADS"]))
import kerasllm
print(kerasllm.native.info()["instruction_set"])
for dtype in ("float32", "mixed_bfloat16"):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(7, 9, 20)), tf.float32)
    layer = kerasllm.layers.LSTM(33, dtype=dtype, return_sequences=True)
    layer.build(x.shape)
    layer.set_weights([random.normal(0, 0.3, w.shape) for w in layer.get_weights()])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(x, training=True), "float32") ** 2)
    gradients = tape.gradient(loss, layer.trainable_variables)
    print(float(loss), *(float(tf.reduce_sum(tf.abs(g))) for g in gradients))
"""


@pytest.fixture(scope="module")
def lstm_sums():
    """A function of environment variables: `(instruction set, sums of each dtype, errors)`."""

    @functools.cache
    def sums(**environment):
        code, output, errors = run(LSTM_SUMS, **environment)
        assert code == 0, errors
        used, *values = output.strip().splitlines()[-3:]
        return used, tuple(values), errors

    return sums


@needs_native
def test_every_instruction_set_gives_the_same_numbers(lstm_sums):
    results = {}
    for name in native.info()["instruction_sets_here"]:
        used, values, _ = lstm_sums(KERASLLM_ISA=name)
        assert used == name
        results[name] = [np.array(line.split(), float) for line in values]
    for name, values in results.items():
        for mine, generic, tolerance in zip(values, results["generic"], (1e-5, 1e-2), strict=True):
            np.testing.assert_allclose(mine, generic, rtol=tolerance, err_msg=name)


@needs_native
def test_an_instruction_set_that_is_not_there_is_said_and_the_best_is_used(lstm_sums):
    used, _, errors = lstm_sums(KERASLLM_ISA="sse9", THREADS="4")
    assert used == native.info()["instruction_sets_here"][-1]
    assert 'KERASLLM_ISA is "sse9"' in errors


@needs_native
def test_threads_do_not_change_a_bit(lstm_sums):
    best = native.info()["instruction_sets_here"][-1]
    found = [
        lstm_sums(KERASLLM_ISA=best),  # as many as there are cores
        lstm_sums(KERASLLM_ISA=best, THREADS="1"),
        lstm_sums(KERASLLM_ISA="sse9", THREADS="4"),
    ]
    assert {used for used, _, _ in found} == {best}
    assert len({values for _, values, _ in found}) == 1


@needs_native
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not here")
def test_the_library_exports_nothing_but_its_own_names():
    command = ["nm", "-D", "--defined-only", native.info()["library"]]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1] for line in names.splitlines()}
    assert exported and all(name.startswith("kerasllm_") for name in exported)
