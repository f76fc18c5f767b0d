"""keras.layers.Embedding on the fused embedding op."""

import keras
from keras import ops

from kerasllm.ops.dispatch import why_not_served
from kerasllm.ops.embedding import embedding


@keras.saving.register_keras_serializable(package="kerasllm")
class Embedding(keras.layers.Embedding):
    """Turns ids into vectors: `keras.layers.Embedding` with a dense gradient, made in parallel.

    Constructor, call arguments, weights and results are those of `keras.layers.Embedding`, and
    weights go both ways. The gradient is a dense tensor, where TensorFlow's is a list of slices,
    one for each token. Keras's optimizers take the slices of a token that occurs more than once one
    by one: Adam's velocity then gets the sum of their squares, and clipping the norm of all slices.
    Here both get the token's gradient, as on Keras's other backends.

    An id that is negative or beyond the table is an InvalidArgumentError, with and without
    `jit_compile`; on a GPU its vector is NaN. Keras counts negative ones from the end.

    The op serves float32 and bfloat16, on a GPU float16 too. LoRA, quantized tables, sparse and
    ragged inputs, and other dtypes take Keras's own path.

    Examples:

    >>> layer = kerasllm.layers.Embedding(20000, 128, mask_zero=True)
    >>> layer(np.array([[5, 7, 0]])).shape
    TensorShape([1, 3, 128])

    Args:
        input_dim: Number of ids.
        output_dim: Size of a vector.
        **kwargs: Every other argument of `keras.layers.Embedding`.

    Call arguments:
        inputs: ints of any shape, each at least 0 and below `input_dim`.

    Returns:
        The shape of `inputs` and `output_dim`.
    """

    def add_weight(self, *args, **kwargs):
        # Rows are rounded to the compute dtype as they are taken; Keras would cast the whole table
        # in every call.
        return super().add_weight(*args, **{"autocast": False, **kwargs})

    def call(self, inputs):
        if not self._fused(inputs):
            return super().call(inputs)
        shape = ops.shape(inputs)
        outputs = embedding(
            inputs if len(shape) == 2 else ops.reshape(inputs, (1, -1)),
            self._embeddings,
            dtype=self.compute_dtype,
        )
        return outputs if len(shape) == 2 else ops.reshape(outputs, (*shape, self.output_dim))

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras refuses subclasses, as it cannot know what they add: this one adds nothing.
        type_check = type_check and type(self) is not Embedding
        return super().quantize(mode, type_check=type_check, config=config)

    def _fused(self, inputs):
        """Whether the op computes what this call asks for."""
        if self.why_not_fused():
            return False
        import tensorflow as tf

        return tf.is_tensor(inputs) and not isinstance(inputs, (tf.SparseTensor, tf.RaggedTensor))

    def why_not_fused(self):
        """Why Keras's own lookup runs, as a sentence; None where the op serves."""
        if self.quantization_mode:
            return "its table is quantized"
        if self.lora_enabled:
            return "LoRA is enabled"
        return why_not_served("embedding", self.variable_dtype)
