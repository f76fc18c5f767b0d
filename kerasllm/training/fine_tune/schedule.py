"""The learning rate of fine-tuning: up in a line, down in a line."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasllm")
class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises in a line to a peak, then falls in a line.

    The warm-up keeps the first steps, whose Adam moments are of few gradients, from taking a
    pretrained model far away (Devlin, Chang, Lee and Toutanova, BERT: Pre-training of Deep
    Bidirectional Transformers for Language Understanding, 2019). No step has the rate 0: the first
    has `learning_rate / warmup_steps`, the last of the warm-up `learning_rate`.

    Examples:

    >>> schedule = LinearWarmupDecay(2e-5, train_steps=1000, warmup_steps=100)
    >>> optimizer = kerasllm.optimizers.AdamW(schedule)

    Args:
        learning_rate: The peak, a float.
        train_steps: Steps in all. With `gradient_accumulation_steps` Keras counts every batch.
        warmup_steps: Steps to the peak. 0 by default.
        final_learning_rate: What the line falls to behind the last step, and what holds then. 0.0
            by default.

    Raises:
        ValueError: If there are no steps, or fewer than the warm-up has.
    """

    def __init__(self, learning_rate, train_steps, warmup_steps=0, final_learning_rate=0.0):
        if train_steps < 1 or not 0 <= warmup_steps <= train_steps:
            raise ValueError(
                f"There are {train_steps} steps and {warmup_steps} of warm-up; expected at least "
                "one step, and a warm-up from 0 to that many."
            )
        self.learning_rate, self.train_steps = learning_rate, train_steps
        self.warmup_steps, self.final_learning_rate = warmup_steps, final_learning_rate

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = self.learning_rate * (step + 1) / max(1, self.warmup_steps)
        left = (self.train_steps - step) / max(1, self.train_steps - self.warmup_steps)
        fall = self.learning_rate - self.final_learning_rate
        falling = self.final_learning_rate + fall * ops.clip(left, 0.0, 1.0)
        return ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "train_steps": self.train_steps,
            "warmup_steps": self.warmup_steps,
            "final_learning_rate": self.final_learning_rate,
        }
