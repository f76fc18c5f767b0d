"""AdaLoRA's schedule: which singular values stay."""

import keras
import numpy as np
from keras import ops

from kerasllm.training.tensorboard.step_hooks import hook_gradients


class RankAllocation(keras.callbacks.Callback):
    """Lets the ranks of a model's `SingularUpdate`s fall to the budget, by importance.

    The importance of a weight is its sensitivity `|weight * gradient|`, smoothed over the steps,
    times the smoothed distance of the sensitivity from that; of a triplet, that of the singular
    value and the means of those of its two vectors. Every `interval` steps the singular values
    outside of the budget become 0; those may come back until the last phase, in which the ranks are
    fixed. The budget falls by a cubic line.

    Its state is in the layers' weights, so a run that is resumed goes on with it.

    Args:
        method: An `AdaLoRA`.
        train_steps: Batches in all epochs together.
    """

    def __init__(self, method, train_steps):
        super().__init__()
        self.method, self.train_steps = method, train_steps
        self._unhook, self._updates = None, []

    def budget(self, step):
        """Singular values that stay after a step, over all updates."""
        method, count = self.method, len(self._updates)
        begin = method.warmup_share * self.train_steps
        end = (1 - method.final_share) * self.train_steps
        left = np.clip((end - step) / (end - begin), 0.0, 1.0) ** 3
        rank = method.target_rank + (method.initial_rank - method.target_rank) * left
        return round(count * rank)

    def on_train_begin(self, logs=None):
        self._updates = [layer for layer in self.model.adapters if hasattr(layer, "kept")]
        self._unhook = hook_gradients(self.model, self._see)

    def on_train_end(self, logs=None):
        self._unhook()

    def on_train_batch_end(self, batch, logs=None):
        if self.method.target_rank == self.method.initial_rank:
            return
        step = self._step()
        final = step >= (1 - self.method.final_share) * self.train_steps
        if final and all(np.all(ops.convert_to_numpy(u.kept)) for u in self._updates):
            self._keep(self.budget(step), fix=True)
        elif not final and step % self.method.interval == 0:
            self._keep(self.budget(step), fix=False)

    def _step(self):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        batches = optimizer.gradient_accumulation_steps or 1
        return int(ops.convert_to_numpy(optimizer.iterations)) * batches

    def _keep(self, budget, fix):
        """Sets all singular values but the most important ones to 0."""
        scores = [importance(update) for update in self._updates]
        order = np.argsort(-np.concatenate(scores), kind="stable")
        kept = np.zeros(len(order), "float32")
        kept[order[:budget]] = 1
        ends = np.cumsum([update.rank for update in self._updates])
        for update, mask in zip(self._updates, np.split(kept, ends[:-1]), strict=True):
            update.singular_values.assign(update.singular_values * mask)
            if fix:
                update.kept.assign(mask)

    def _see(self, gradients, variables):
        """Smooths the sensitivities; in the compiled step."""
        found = {id(variable): g for variable, g in zip(variables, gradients, strict=True)}
        method = self.method
        for update in self._updates:
            states = zip(update.factors, update.sensitivities, update.uncertainties, strict=True)
            for variable, sensitivity, uncertainty in states:
                gradient = ops.cast(found[id(variable)], "float32")
                now = ops.abs(variable * gradient)
                share = 1 - method.sensitivity_decay
                smoothed = sensitivity + share * (now - sensitivity)
                distance = ops.abs(now - smoothed)
                share = 1 - method.uncertainty_decay
                sensitivity.assign(smoothed)
                uncertainty.assign(uncertainty + share * (distance - uncertainty))


def importance(update):
    """The importance of each triplet of a `SingularUpdate`: floats `(rank,)`."""
    states = zip(update.sensitivities, update.uncertainties, strict=True)
    p, values, q = (
        ops.convert_to_numpy(sensitivity) * ops.convert_to_numpy(uncertainty)
        for sensitivity, uncertainty in states
    )
    return values + p.mean(axis=0) + q.mean(axis=1)
