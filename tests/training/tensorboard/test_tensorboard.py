"""The TensorBoard callback: what lands in the event files."""

import copy

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from training.tensorboard.runs import (
    LABELS,
    Run,
    full_run,
    read_events,
    read_scalars,
    read_tensors,
)

from kerasllm.training import TensorBoard, WordDropout, regularize
from kerasllm.training.tensorboard import (
    GradientNorms,
    HParams,
    LearningRate,
    Throughput,
    Validation,
    WeightNorms,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    run, history = full_run(folder)
    return folder, run, history


def values_of(scalars, tag):
    return [value for _, value in scalars[tag]]


def test_metrics_of_epochs_and_batches_are_what_fit_logs(finished):
    folder, _, history = finished
    train, valid = read_scalars(folder / "train"), read_scalars(folder / "validation")
    for name in ("loss", "accuracy", "macro_f1"):
        assert values_of(train, f"epoch_{name}") == pytest.approx(history[name], abs=1e-6)
        assert values_of(valid, f"epoch_{name}") == pytest.approx(history[f"val_{name}"], abs=1e-6)
        assert [step for step, _ in train[f"batch_{name}"]] == list(range(1, 10))


def test_learning_rate_follows_the_schedule(finished):
    folder, *_ = finished
    schedule = keras.optimizers.schedules.CosineDecay(0.02, 12)
    train = read_scalars(folder / "train")
    expected = [float(schedule(step)) for step in range(1, 10)]
    assert values_of(train, "batch_learning_rate") == pytest.approx(expected, rel=1e-5)
    assert values_of(train, "epoch_learning_rate") == pytest.approx(expected[2::3], rel=1e-5)


def test_weight_norms_and_histograms_are_of_every_weight(finished):
    folder, run, _ = finished
    train = read_scalars(folder / "train")
    histograms = read_tensors(folder / "train", "histograms")
    for weight in run.model.weights:
        array = np.array(weight)
        last = train[f"weight_norms/{weight.path}"][-1]
        assert last == (2, pytest.approx(np.sqrt((array.astype("float64") ** 2).sum()), rel=1e-5))
        (name,) = [tag for tag in histograms if tag.startswith(weight.path)]
        assert len(histograms[name]) == 3
        assert histograms[name][-1][1][:, 2].sum() == array.size


def gradient_norms(run):
    """Norms of one batch's gradients by a tape of our own: those of all and of each weight."""
    inputs, labels = next(iter(run.train_batches()))
    with tf.GradientTape() as tape:
        loss = run.model.loss(labels, run.model(inputs, training=True))
    gradients = tape.gradient(loss, run.model.trainable_weights)
    norms = [np.linalg.norm(tf.convert_to_tensor(g).numpy().ravel()) for g in gradients]
    return np.linalg.norm(norms), norms


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradient_norms_are_those_of_a_tape(tmp_path, jit_compile):
    """The embedding's gradient has rows that occur several times: they are summed before."""
    run = Run(jit_compile=jit_compile)
    run.model.optimizer.clipnorm = 1e-3  # norms are measured before clipping
    total, norms = gradient_norms(run)
    board = TensorBoard(tmp_path, [GradientNorms()], update_freq=1)
    data = run.train_batches().take(1)
    run.model.fit(data, verbose=0, shuffle=False, callbacks=[board])
    train = read_scalars(tmp_path / "train")
    assert train["gradients/global_norm"] == [(0, pytest.approx(total, rel=1e-4))]
    assert train["batch_gradient_norm"] == [(1, pytest.approx(total, rel=1e-4))]
    for weight, norm in zip(run.model.trainable_weights, norms, strict=True):
        assert train[f"gradient_norms/{weight.path}"] == [(0, pytest.approx(norm, rel=1e-4))]


def test_gradient_norms_are_means_of_the_epochs_batches(finished):
    folder, *_ = finished
    train = read_scalars(folder / "train")
    batches = np.reshape(values_of(train, "batch_gradient_norm"), (3, 3))
    assert values_of(train, "gradients/global_norm") == pytest.approx(batches.mean(1), rel=1e-4)


def test_logging_changes_no_number_and_leaves_no_trace_in_the_model(tmp_path):
    plain, logged = Run(), Run()
    history = plain.fit()
    board = TensorBoard(tmp_path, [*logged.parts()], update_freq=1)
    assert logged.fit(board) == history
    for mine, theirs in zip(logged.model.weights, plain.model.weights, strict=True):
        np.testing.assert_array_equal(np.array(mine), np.array(theirs))
    assert "train_step" not in vars(logged.model)
    assert "apply" not in vars(logged.model.optimizer)
    assert logged.fit(epochs=1) == plain.fit(epochs=1)


class Breaks(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_interrupted_fit_once_left_its_hooks_in_the_model(tmp_path):
    """Keras tells no callback of it. The next training takes them out."""
    broken, plain = Run(), Run()
    before = broken.model.get_weights()
    for _ in range(2):  # with a board, and with another one
        with pytest.raises(KeyboardInterrupt):
            broken.fit(TensorBoard(tmp_path), Breaks())
    hooks = vars(broken.model)["make_train_function"].unhooks
    assert len(hooks) == 2  # those of the second
    broken.model.set_weights(before)
    for run in (broken, plain):
        run.model.compile("sgd", run.model.loss)
        run.history = run.fit(epochs=2)
    assert broken.history == plain.history
    for name in ("train_step", "make_train_function"):
        assert name not in vars(broken.model)
    assert "apply" not in vars(broken.model.optimizer)


def test_interrupted_fit_does_not_take_regularisers_away(tmp_path):
    run = Run()
    with pytest.raises(KeyboardInterrupt):
        run.fit(TensorBoard(tmp_path), Breaks())
    regularize(run.model, [WordDropout(0.1)])
    step = vars(run.model)["train_step"]
    run.fit(epochs=1)
    assert vars(run.model)["train_step"] is step
    with pytest.raises(KeyboardInterrupt):
        run.fit(TensorBoard(tmp_path), Breaks())
    run.fit(epochs=1)
    assert vars(run.model)["train_step"] is step


def test_throughput_counts_tokens_without_padding(tmp_path, monkeypatch):
    run, now = Run(), iter(range(0, 10_000, 2))
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    run.fit(TensorBoard(tmp_path, [Throughput()]), epochs=2)
    train = read_scalars(tmp_path / "train")
    seconds = 6  # 3 batches
    tokens = sum(map(len, run.ids[:48]))
    for name, count in (("samples", 48), ("tokens", tokens), ("steps", 3)):
        assert values_of(train, f"throughput/{name}_per_second") == [count / seconds] * 2
    assert 0.1 < train["memory/process"][-1][1] <= train["memory/process_peak"][-1][1] < 100


def test_float_inputs_have_no_tokens(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    board = TensorBoard(tmp_path)  # default parts
    model.fit(np.ones((8, 3)), np.ones(8), verbose=0, callbacks=[board])
    train = read_scalars(tmp_path / "train")
    assert "throughput/samples_per_second" in train
    assert "throughput/tokens_per_second" not in train


def test_hparams_show_the_best_epoch_and_not_the_last(tmp_path):
    from tensorboard.plugins.hparams import metadata

    class Plan(keras.callbacks.Callback):
        """Says what validation found."""

        def on_epoch_end(self, epoch, logs=None):
            logs["val_macro_f1"] = [0.2, 0.9, 0.4][epoch]

    hparams = HParams(
        {"dropout": np.float32(0.5), "layers": [8, 8], "name": "字"}, monitor="val_macro_f1"
    )
    history = Run().fit(Plan(), TensorBoard(tmp_path, [hparams]))
    best = read_scalars(tmp_path)
    assert best["best/val_macro_f1"] == [(0, pytest.approx(0.2)), (1, pytest.approx(0.9))]
    assert best["best/epoch"][-1] == (1, 2)
    assert best["best/val_loss"][-1] == (1, pytest.approx(history["val_loss"][1], abs=1e-6))
    content = {
        tag: read_events(tmp_path).SummaryMetadata(tag).plugin_data.content
        for tag in read_events(tmp_path).Tags()["tensors"]
        if tag.startswith("_hparams_")
    }
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["dropout"].number_value == 0.5
    assert start.hparams["layers"].string_value == "[8, 8]"
    experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    tags = [metric.name.tag for metric in experiment.metric_infos]
    assert tags[0] == "best/val_macro_f1" and set(tags) == set(best)
    assert metadata.SESSION_END_INFO_TAG in content


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val_loss", "min"), ("val_accuracy", "max"), ("calibration_error", "min")],
)
def test_what_is_better_follows_from_the_name(monitor, mode):
    assert HParams({}, monitor).mode == mode


def test_resumed_run_knows_the_best_epoch_before_the_break(tmp_path):
    history = {"val_macro_f1": [0.99, 0.1], "val_loss": [0.5, 0.6]}
    hparams = HParams({"a": 1}, "val_macro_f1", history=history)
    Run().fit(TensorBoard(tmp_path, [hparams]), initial_epoch=2, epochs=3)
    best = read_scalars(tmp_path)
    assert values_of(best, "best/val_macro_f1") == pytest.approx([0.99])
    assert values_of(best, "best/epoch") == [1]


def test_precision_recall_curves_are_scikit_learns(finished):
    folder, run, _ = finished
    curves = read_tensors(folder / "validation", "pr_curves")
    assert list(curves) == [f"pr_curves/{label}/pr_curves" for label in LABELS]
    logits = run.model.predict(run.valid_batches(), verbose=0)
    probabilities = np.array(keras.ops.softmax(logits))
    for index, label in enumerate(LABELS):
        steps = curves[f"pr_curves/{label}/pr_curves"]
        assert [step for step, _ in steps] == [0, 1, 2]
        _, _, _, _, precision, recall = steps[-1][1]
        truth, scores = run.labels[48:] == index, probabilities[:, index]
        for threshold in (20, 60, 100):  # of 200
            guesses = scores >= threshold / 200
            expected = (
                sklearn.metrics.precision_score(truth, guesses, zero_division=0),
                sklearn.metrics.recall_score(truth, guesses),
            )
            assert (precision[threshold], recall[threshold]) == pytest.approx(expected, abs=1e-6)


def test_confusion_matrices_are_pictures(finished):
    folder, *_ = finished
    images = read_tensors(folder / "validation", "images")
    assert set(images) == {"confusion_matrix", "epoch_confusion_matrix"}  # the part's, the metric's
    for steps in images.values():
        assert len(steps) == 3
        picture = tf.io.decode_png(steps[-1][1][2])
        assert min(picture.shape[:2]) > 200


def test_text_samples_have_truth_and_prediction(finished):
    folder, *_ = finished
    ((_, table),) = read_tensors(folder / "validation", "text")["samples"][-1:]
    lines = table.item().decode().splitlines()
    assert len(lines) == 2 + 6
    assert all(line.count(" | ") == 4 for line in lines[2:])
    assert any("第1批48号" in line for line in lines)
    assert sum(any(label in line for label in LABELS) for line in lines) == 6


def test_profiled_steps_show_our_op_by_name(tmp_path):
    run = Run()
    run.fit(TensorBoard(tmp_path, [], profile_batch=(2, 3)), epochs=1)
    (trace,) = tmp_path.rglob("*.xplane.pb")
    content = trace.read_bytes()
    for name in (b"KerasllmLstm", b"Profiled batch"):
        assert name in content


def test_it_can_be_copied_before_and_after_a_run(tmp_path):
    """Keras's own holds a module after its run, which cannot be copied."""
    run = Run()
    board = TensorBoard(tmp_path / "first", run.parts())
    early = copy.deepcopy(board)
    assert not (tmp_path / "first").exists()
    run.fit(board, epochs=1)
    late = copy.deepcopy(board)
    for number, twin in enumerate([early, late]):
        assert type(twin).__name__ == "TensorBoard"
        assert [type(part) for part in twin.parts] == [type(part) for part in board.parts]
        assert not {id(part) for part in twin.parts} & {id(part) for part in board.parts}
        twin.log_dir = str(tmp_path / f"copy{number}")  # as Keras Tuner does
        Run().fit(twin, epochs=1)
        assert values_of(read_scalars(tmp_path / f"copy{number}"), "best/epoch") == [1]
    assert len(list((tmp_path / "first").glob("events*"))) == 1


def test_keras_tuner_gives_each_trial_its_folder_and_hyperparameters(tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner")
    run = Run()

    def build(hp):
        return Run(seed=hp.Int("seed", 0, 9)).model

    tuner = keras_tuner.RandomSearch(
        build,
        keras_tuner.Objective("val_macro_f1", "max"),
        max_trials=2,
        directory=tmp_path / "search",
    )
    parts = [HParams(monitor="val_macro_f1"), WeightNorms()]
    tuner.search(
        run.train_batches(),
        validation_data=run.valid_batches(),
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[TensorBoard(tmp_path / "logs", parts)],
    )
    folders = sorted((tmp_path / "logs").glob("*/execution0"))
    assert len(folders) == 2
    for folder in folders:
        assert "best/val_macro_f1" in read_scalars(folder)
        assert "_hparams_/session_start_info" in read_events(folder).Tags()["tensors"]


def test_reports_of_chosen_epochs_and_the_last(tmp_path):
    run = Run()
    part = Validation((np.ones((5, 4), "int32"), np.arange(5) % 3), every=2)
    run.fit(TensorBoard(tmp_path, [part]), epochs=5)
    ((_, steps),) = read_tensors(tmp_path / "validation", "images").items()
    assert [step for step, _ in steps] == [1, 3, 4]


def test_default_frequency_writes_no_batches(tmp_path):
    Run().fit(TensorBoard(tmp_path, [LearningRate(), GradientNorms()]), epochs=1)
    train = read_scalars(tmp_path / "train")
    assert not [tag for tag in train if tag.startswith("batch_")]
    assert "gradients/global_norm" in train


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda run: HParams({}, monitor="val_f1"), "monitors val_f1, which is not among"),
        (lambda run: Validation(run.valid_batches(), ["a"]), "1 label_names, but the model has 3"),
        (
            lambda run: Validation(run.valid_batches(), texts=["好"], num_samples=1),
            "1 texts for 24 rows",
        ),
    ],
)
def test_part_that_does_not_fit_the_run_is_an_error(tmp_path, part, message):
    run = Run()
    with pytest.raises(ValueError, match=message):
        run.fit(TensorBoard(tmp_path, [part(run)]), epochs=1)


def test_options_of_keras_that_do_not_work_are_refused():
    with pytest.raises(ValueError, match=r"give the part EmbeddingProjector\(tokens\)"):
        TensorBoard("logs", embeddings_freq=1)
    with pytest.raises(ValueError, match="mode is 'best'"):
        HParams({}, mode="best")
