"""A train step with each regulariser against the plain one: what its passes cost.

The classifier Embedding - bidirectional LSTM - dense, with jit off and on. `limit` is what the
passes alone would take: as many plain steps as there are passes, forward and backward.
"""

import keras
import numpy as np
import tensorflow as tf

from benchmarks import measure
from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.training import (
    FGM,
    PGD,
    GradientPenalty,
    Mixup,
    RDrop,
    SpatialDropout,
    VirtualAdversarial,
    WeightDecay,
    WeightPenalty,
    WordDropout,
    regularize,
)

VOCABULARY, BATCH, TIME, WIDTH = 10_000, 64, 64, 128
PLAIN = "plain"

# name -> (regularisers, passes in a step)
VARIANTS = {
    PLAIN: ([], 1),
    "word_dropout": ([WordDropout(0.1)], 1),
    "spatial_dropout": ([SpatialDropout(0.2)], 1),
    "mixup": ([Mixup(0.2)], 1),
    "weight_penalty": ([WeightPenalty(l2=1e-4)], 1),
    "weight_decay": ([WeightDecay(0.01)], 1),
    "r_drop": ([RDrop(1.0)], 2),
    "fgm": ([FGM(0.5)], 2),
    "pgd, 3 steps": ([PGD(0.5, steps=3)], 4),
    "virtual_adversarial": ([VirtualAdversarial(0.5)], 3),
    "gradient_penalty": ([GradientPenalty(0.1)], 3),
}


def build(regularizers, jit_compile):
    keras.utils.set_random_seed(7)
    model = EmbeddingLSTMClassifier(
        VOCABULARY, 2, WIDTH, WIDTH, bidirectional=True, pooling="max", dropout=0.3
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit_compile)
    return regularize(model, regularizers)


def run(quick=False):
    random = np.random.default_rng(0)
    token_ids = tf.constant(random.integers(1, VOCABULARY, (BATCH, TIME)), tf.int32)
    labels = tf.constant(random.integers(0, 2, BATCH))
    shape = f"{BATCH} x {TIME}, width {WIDTH}"
    rows = []
    for jit_compile in (False,) if quick else (False, True):
        models = {name: build(regs, jit_compile) for name, (regs, _) in VARIANTS.items()}
        check_equality(models, token_ids)
        functions = {
            name: lambda model=model: model.train_on_batch(token_ids, labels)
            for name, model in models.items()
        }
        times = measure.interleave(functions, repeats=5 if quick else 15)
        work = "train step, jit" if jit_compile else "train step"
        dtypes = dict.fromkeys(times, "float32")
        rows += measure.rows(work, shape, times, dtypes, PLAIN)
    for row in rows:
        passes = VARIANTS[row.who][1]
        if passes > 1:
            row.who += f" ({passes})"
    return rows


def check_equality(models, token_ids):
    """Regularisers are there in training only: untrained, all predict the same."""
    expected = models[PLAIN](token_ids).numpy()
    for name, model in models.items():
        if not np.array_equal(model(token_ids).numpy(), expected):
            raise AssertionError(f"{name} predicts something else than plain")
