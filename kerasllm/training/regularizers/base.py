"""What a regulariser may do in a train step."""


class Regularizer:
    """Takes part in the train step of a model that `kerasllm.training.regularize` was given.

    A subclass overrides what it needs; the rest does nothing. All methods are called while the step
    is traced, so their Python runs once and their tensors every step.

    `noise` is an int32 `(2,)`, the seed of `kerasllm.ops.dropout` and `random_uniform`. It follows
    from the optimizer's step and the place in the list of regularisers alone, so a resumed run
    draws what the unbroken one drew, and a pass with the same noise as another draws the same.
    """

    #: Whether the step has to reach the output of an embedding layer for this one.
    needs_embedding = True

    def check(self, model):
        """Raises a ValueError where a compiled model cannot be trained so."""

    def change_inputs(self, inputs, noise):
        """Other inputs for the model.

        Args:
            inputs: What `fit` gave, or what the regularisers before this one made of it.
            noise: int32 `(2,)`.
        """
        return inputs

    def replace_ids(self, token_ids, mask, noise):
        """Other token ids for the embedding to look up.

        Args:
            token_ids: ints `(batch, time)`.
            mask: bool `(batch, time)`, false at padding.
            noise: int32 `(2,)`.
        """
        return token_ids

    def change_embeddings(self, embeddings, mask, noise, inputs):
        """Other embeddings for the layers behind the embedding.

        Args:
            embeddings: `(batch, time, dim)` in the embedding's compute dtype.
            mask: bool `(batch, time)`, false at padding.
            noise: int32 `(2,)`.
            inputs: The model's inputs as `fit` gave them.
        """
        return embeddings

    def mix_labels(self, batch_size, noise):
        """Rows whose labels a row's loss is shared with, and its own share: ints and floats
        `(batch,)`; or None. `noise` is that of `change_embeddings`."""
        return None

    def penalty(self, step, clean):
        """A scalar added to the loss, computed under `step.tape`; or None.

        Args:
            step: The `Step`, which makes further passes.
            clean: The first `Pass`.
        """
        return None

    def extra_gradients(self, step, clean, embedding_gradients):
        """What is added to the loss and to the weights' gradients after the first backward pass.

        Args:
            step: The `Step`, which makes further passes.
            clean: The first `Pass`.
            embedding_gradients: float32 `(batch, time, dim)`, those of the loss at
                `clean.embeddings`.

        Returns:
            `(loss, gradients)`, as `step.gradients` gives them; or None.
        """
        return None

    def before_update(self, model):
        """Changes weights just before the optimizer does."""
