"""What the BERT models share: their inputs, and folders of weights."""

import keras
from keras import ops

from kerasllm.models.model_config import ModelConfig


class BertModel(ModelConfig):
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
    def from_pretrained(cls, folder, **options):
        """The model of a folder of pretrained weights.

        It reads Hugging Face folders (config.json beside model.safetensors or pytorch_model.bin, in
        one part or several) of BERT, RoBERTa-wwm, MacBERT, ALBERT, DistilBERT, ERNIE and ELECTRA's
        discriminators, and the original checkpoints of BERT (bert_config.json beside
        bert_model.ckpt). A fine-tuned head is loaded. A pytorch_model.bin is read without running
        what its pickle may hold.

        Examples:

        >>> model = kerasllm.models.BertClassifier.from_pretrained("my-fine-tuned-macbert")
        >>> model = kerasllm.models.BertClassifier.from_pretrained(
        ...     "hfl/chinese-macbert-base", num_classes=2, missing="new", surplus="ignore"
        ... )

        Args:
            folder: The folder, or a name on the Hugging Face Hub.
            num_classes: Of a classifier; the number of the folder's classes by default.
            missing: `"error"`, by default, or `"new"`: whether tensors of the head that the folder
                lacks get new values. Missing tensors of the encoder are always an error.
            surplus: `"error"`, by default, or `"ignore"`: what is done with tensors that the model
                has no place for. Those of an encoder are always an error, unless `num_layers` is
                given, which cuts it.
            allow_unused_rows: Whether the folder's vocabulary may have fewer tokens than the
                model's table has rows, as where a table was padded. False by default.
            revision: Of a name on the Hub: a branch, a tag or a commit.
            **arguments: Of `BertBackbone`, instead of the folder's: `dtype`, `dropout` and such; of
                a classifier also `dropout_samples`.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If one is damaged, if tensors are missing or left over, or if config,
                vocabulary and tensors do not belong together; the message names them.
            ImportError: If a package of the extra `pretrained` is needed and missing.
            ConnectionError: If the model has to be downloaded and cannot be.
        """
        from kerasllm.models.pretrained.load import load_pretrained

        return load_pretrained(cls, folder, **options)

    def save_pretrained(self, folder, tokenizer=None, labels=None):
        """Writes a folder that transformers loads: config.json, model.safetensors and, with a
        tokenizer, vocab.txt and tokenizer_config.json.

        All files are written before one of them takes the place of another.

        Args:
            folder: The folder; made if it is missing.
            tokenizer: A `kerasllm.text.WordPieceTokenizer`, or None.
            labels: The names of a classifier's classes, in their order; numbered by default.

        Raises:
            ValueError: If the backbone's `model_type` has no such model, or the tokenizer or the
                labels do not fit it.
            ImportError: If the safetensors package is missing.
        """
        from kerasllm.models.pretrained.save import save_pretrained

        save_pretrained(self, folder, tokenizer, labels)


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
