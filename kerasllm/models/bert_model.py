"""What the BERT models share: their inputs, and folders of weights."""

import keras
from keras import ops


class BertModel:
    """Mixed in before `keras.Model`, it completes inputs, and reads and writes pretrained folders.

    Every model takes a dict of

        token_ids      int32 (batch, time)
        segment_ids    int32 (batch, time); 0 for the first text, 1 for the second
        padding_mask   bool (batch, time); false at padding

    `kerasllm.text.WordPieceTokenizer.encode` gives just that. Segments that are missing are 0, and
    a mask that is missing is false where a token id is 0; token ids alone may come as a tensor.
    """

    def __call__(self, inputs, *arguments, **options):
        return super().__call__(complete_inputs(inputs), *arguments, **options)

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        if isinstance(config.get("backbone"), dict):
            config["backbone"] = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**config)


def complete_inputs(inputs):
    """The dict of inputs with the segments and the mask that it may lack."""
    if not isinstance(inputs, dict):
        inputs = {"token_ids": inputs}
    inputs = {name: value for name, value in inputs.items() if value is not None}
    if "token_ids" not in inputs:
        raise ValueError(f"The inputs lack token_ids; they have {', '.join(inputs) or 'nothing'}.")
    if not keras.utils.is_keras_tensor(inputs["token_ids"]):
        # Keras takes arrays, or tensors, but no mixture.
        inputs = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    token_ids = inputs["token_ids"]
    if "segment_ids" not in inputs:
        inputs["segment_ids"] = ops.zeros_like(token_ids, dtype="int32")
    if "padding_mask" not in inputs:
        inputs["padding_mask"] = ops.not_equal(token_ids, 0)
    return inputs


def make_inputs():
    """The symbolic inputs of a functional model."""
    dtypes = {"token_ids": "int32", "segment_ids": "int32", "padding_mask": "bool"}
    return {name: keras.Input((None,), dtype=dtype, name=name) for name, dtype in dtypes.items()}


def bert_initializer():
    """That of all kernels and tables: Devlin et al., 2019."""
    return keras.initializers.TruncatedNormal(stddev=0.02)
