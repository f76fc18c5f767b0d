"""Pooling over the steps that a mask leaves."""

import keras
from keras import ops


class _MaskedPooling1D(keras.layers.Layer):
    """`(batch, time, features)` to `(batch, features)`, by the steps that count."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2])


@keras.saving.register_keras_serializable(package="kerasllm")
class MaskedMeanPooling1D(_MaskedPooling1D):
    """The mean of each feature over the steps that count.

    A sequence with no step that counts gives zeros. `keras.layers.GlobalAveragePooling1D`, which is
    the same else, gives NaN there, and one such row makes NaN of all weights.

    Examples:

    >>> x = np.array([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    >>> kerasllm.layers.MaskedMeanPooling1D()(x, mask=np.array([[True, True, False]]))
    <tf.Tensor: shape=(1, 2), dtype=float32, numpy=array([[2., 2.]], dtype=float32)>

    Args:
        **kwargs: `name`, `dtype` and the like of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, time, features)`.
        mask: bool `(batch, time)`, false at steps that are left out; or None.

    Returns:
        `(batch, features)`, in the compute dtype.
    """

    def call(self, inputs, mask=None):
        if mask is None:
            return ops.mean(inputs, axis=1)
        mask = ops.expand_dims(ops.cast(mask, "bool"), -1)
        total = ops.sum(ops.where(mask, inputs, ops.zeros_like(inputs)), axis=1)
        return total / ops.maximum(ops.sum(ops.cast(mask, inputs.dtype), axis=1), 1)


@keras.saving.register_keras_serializable(package="kerasllm")
class MaskedMaxPooling1D(_MaskedPooling1D):
    """The largest value of each feature over the steps that count.

    `keras.layers.GlobalMaxPooling1D` takes no mask: padding would take part. A sequence with no
    step that counts gives zeros.

    Examples:

    >>> x = np.array([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    >>> kerasllm.layers.MaskedMaxPooling1D()(x, mask=np.array([[True, True, False]]))
    <tf.Tensor: shape=(1, 2), dtype=float32, numpy=array([[3., 4.]], dtype=float32)>

    Args:
        **kwargs: `name`, `dtype` and the like of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, time, features)`.
        mask: bool `(batch, time)`, false at steps that are left out; or None.

    Returns:
        `(batch, features)`, in the compute dtype.
    """

    def call(self, inputs, mask=None):
        if mask is None:
            return ops.max(inputs, axis=1)
        mask = ops.expand_dims(ops.cast(mask, "bool"), -1)
        lowest = ops.cast(float("-inf"), inputs.dtype)
        largest = ops.max(ops.where(mask, inputs, lowest), axis=1)
        return ops.where(ops.any(mask, axis=1), largest, ops.zeros_like(largest))
