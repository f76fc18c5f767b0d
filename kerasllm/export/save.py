"""Writing a model with its tokenizer as one SavedModel."""

import contextlib
import json
import pathlib
import tempfile

import keras

from kerasllm import native
from kerasllm.files import replace_folder
from kerasllm.ops.dispatch import composed_only
from kerasllm.text import TextPipeline, WordPiecePipeline, WordPieceTokenizer

SAVED_MODEL_FILE = "saved_model.pb"
DESCRIPTION_FILE = "text_model.json"
FORMAT = "kerasllm.text_model"
VERSION = 1
TOKENIZERS = (TextPipeline, WordPiecePipeline, WordPieceTokenizer)


def save_text_model(
    model, tokenizer, labels, path, portable=False, max_length=None, from_logits=True
):
    """Writes a SavedModel that takes raw texts and gives labels and probabilities.

    Its signature `serving_default` takes `texts`, string `(batch,)` in UTF-8, and returns

    - `label`: string `(batch,)`, the likeliest label,
    - `probability`: float32 `(batch,)`, its probability,
    - `probabilities`: float32 `(batch, num_classes)`, in the order of the labels,
    - `id`: int32 `(batch,)`, the label's place among the labels.

    The folder holds all it needs: the vocabulary, jieba's dictionary and the labels are its assets.
    A program that loads it needs TensorFlow and `libkerasllm_ops.so` and neither Python nor Keras:
    `kerasllm_ops.load()` or `tf.load_op_library` before `tf.saved_model.load`, `TF_LoadLibrary` in
    C. `load_text_model` does it, and says what is missing. Fused ops stay fused.

    A portable one has no op but TensorFlow's own. It takes the input of the model in the place of
    texts, `token_ids`, int32 `(batch, length)` (with WordPiece also `segment_ids`, int32, and
    `padding_mask`, bool), which the tokenizer or pipeline makes that lies in `path / "assets"`;
    `load_text_model` reads it. Everything else is the same.

    Examples:

    >>> kerasllm.export.save_text_model(model, pipeline, ["negative", "positive"], "served")
    >>> kerasllm.export.load_text_model("served").predict(["房间很干净，还会再来"])
    [('positive', 0.93)]

    Args:
        model: A Keras model that gives `(batch, num_classes)`.
        tokenizer: The `kerasllm.text.TextPipeline` of the model, which takes token ids, or a
            `WordPieceTokenizer`, or a `WordPiecePipeline`, which cleans texts before, for one that
            takes a dict of `token_ids`, `segment_ids` and `padding_mask`.
        labels: The names of the classes, a list of str.
        path: The folder to write. A SavedModel that is there is replaced when all is written.
        portable: Whether it should do without any op of kerasllm.
        max_length: Tokens to which a `WordPieceTokenizer` cuts texts; a pipeline has its own.
        from_logits: Whether the model gives logits, else probabilities.

    Raises:
        ValueError: If there are not as many labels as classes, or the pipeline has parts that are
            not known in a graph.
        TypeError: If the tokenizer is of another class.
        FileExistsError: If `path` holds something that is no SavedModel.
        RuntimeError: If Keras does not run on TensorFlow, or, unless `portable`, the native library
            is not there.
    """
    labels = list(labels)
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            f"A SavedModel is TensorFlow's, but Keras runs on {keras.config.backend()}. Set"
            " KERAS_BACKEND=tensorflow and load the model there."
        )
    if not isinstance(tokenizer, TOKENIZERS):
        raise TypeError(
            "tokenizer should be a TextPipeline, a WordPiecePipeline or a WordPieceTokenizer, but"
            f" is a {type(tokenizer).__name__}."
        )
    if not isinstance(tokenizer, WordPieceTokenizer):
        if max_length is not None:
            raise ValueError("A pipeline has its own max_length; leave max_length= out.")
        max_length = tokenizer.max_length
    if model.output_shape[-1] != len(labels):
        raise ValueError(
            f"The model has {model.output_shape[-1]} classes, but labels= has {len(labels)} names."
        )
    import tensorflow as tf

    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    if portable:
        encode, signature = None, _input_signature(tokenizer)
    else:
        encode = module.encode = _encoding(tokenizer, max_length)
        signature = [tf.TensorSpec((None,), tf.string, name="texts")]

    @tf.function(input_signature=signature)
    def serve(*inputs):
        if encode is not None:
            inputs = encode(*inputs)
        elif len(inputs) > 1:
            inputs = dict(zip([spec.name for spec in signature], inputs, strict=True))
        else:
            inputs = inputs[0]
        outputs = tf.cast(model(inputs, training=False), tf.float32)
        probabilities = tf.nn.softmax(outputs) if from_logits else outputs
        label_ids = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {
            "label": tf.gather(tf.constant(labels), label_ids),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "id": label_ids,
        }

    module.serve = serve
    description = {
        "format": FORMAT,
        "version": VERSION,
        "labels": labels,
        "tokenizer": type(tokenizer).__name__,
        "portable": bool(portable),
        "max_length": max_length,
    }
    with (
        replace_folder(path, SAVED_MODEL_FILE) as folder,
        tempfile.TemporaryDirectory() as assets,
    ):
        files = _write_assets(pathlib.Path(assets), tokenizer, description)
        module.assets = [tf.saved_model.Asset(str(file)) for file in files]
        # Saving traces again.
        with composed_only() if portable else contextlib.nullcontext():
            tf.saved_model.save(module, str(folder), signatures=serve.get_concrete_function())


def require_native_library():
    """Says before a training that its model could not be saved.

    Raises:
        ImportError: If there is no native library, without which only portable models are saved.
    """
    if not native.in_use():
        why = native.info()["problem"] or f"Keras runs on {keras.config.backend()}"
        raise ImportError(f"A model that takes texts needs the native library: {why}.")


def _encoding(tokenizer, max_length):
    """The layer that makes the model's input from texts."""
    from kerasllm.layers import TextCleaning, TextEncoding, WordPieceEncoding

    if isinstance(tokenizer, TextPipeline):
        return TextEncoding(tokenizer)
    if isinstance(tokenizer, WordPiecePipeline):
        encode = WordPieceEncoding(tokenizer.tokenizer, max_length=max_length)
        cleaning = TextCleaning(**tokenizer.cleaner.get_config())
        texts = keras.Input((), dtype="string")
        return keras.Model(texts, encode(cleaning(texts)))
    return WordPieceEncoding(tokenizer, max_length=max_length)


def _input_signature(tokenizer):
    """What the model takes, for a SavedModel that does not cut texts."""
    import tensorflow as tf

    names = {"token_ids": tf.int32}
    if not isinstance(tokenizer, TextPipeline):
        names |= {"segment_ids": tf.int32, "padding_mask": tf.bool}
    return [tf.TensorSpec((None, None), dtype, name=name) for name, dtype in names.items()]


def _write_assets(folder, tokenizer, description):
    """Writes the files that tell what the model is; those that the ops bring along are left out."""
    tokenizer.save(folder)
    if not description["portable"]:
        for name in ("vocabulary.txt", "vocab.txt"):
            (folder / name).unlink(missing_ok=True)
    content = json.dumps(description, ensure_ascii=False, indent=2) + "\n"
    (folder / DESCRIPTION_FILE).write_text(content, encoding="utf-8")
    return sorted(folder.iterdir())
