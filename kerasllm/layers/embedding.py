"""keras.layers.Embedding on the fused embedding op."""

import keras
from keras import ops

from kerasllm.ops.dispatch import served
from kerasllm.ops.embedding import embedding


@keras.saving.register_keras_serializable(package="kerasllm")
class Embedding(keras.layers.Embedding):
    """Turns ids into vectors: `keras.layers.Embedding` with a dense gradient, made in parallel.

    Constructor, call arguments, weights and results are those of `keras.layers.Embedding`, and
    weights go both ways. The gradient is a dense tensor, where TensorFlow's is a list of slices
    that optimizers sum up one by one. An id that is negative or beyond the table is an
    InvalidArgumentError, with and without `jit_compile`; Keras counts negative ones from the end.

    The op serves float32 and bfloat16. LoRA, quantized tables, sparse and ragged inputs, float16
    and float64 take Keras's own path.

    Args:
        input_dim: Number of ids.
        output_dim: Size of a vector.
        **kwargs: Every other argument of `keras.layers.Embedding`.

    Call arguments:
        inputs: ints of any shape, each at least 0 and below `input_dim`.

    Returns:
        The shape of `inputs` and `output_dim`.
    """

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

    def _fused(self, inputs):
        """Whether the op computes what this configuration asks for."""
        if self.quantization_mode or self.lora_enabled:
            return False
        if not served("embedding", self.variable_dtype):
            return False
        import tensorflow as tf

        return tf.is_tensor(inputs) and not isinstance(inputs, (tf.SparseTensor, tf.RaggedTensor))
