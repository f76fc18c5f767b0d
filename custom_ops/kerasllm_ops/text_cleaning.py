"""The cleaning of texts inside a TensorFlow graph."""

import tensorflow as tf

from kerasllm_ops.loader import required_ops


def text_cleaning(texts, name=None, **switches):
    """Cleans texts as `kerasllm.text.TextCleaner` does, character by character the same.

    Characters are what they are in Unicode 14 and entities those of HTML 5, whatever Python has.

    Args:
        texts: A string tensor of any shape, or a `tf.RaggedTensor`, UTF-8. Bytes that are none
            become U+FFFD, as in `bytes.decode("utf-8", "replace")`.
        name: The op's name.
        **switches: What is to be done: `html`, `urls`, `mentions`, `width`, `control`,
            `mask_emails`, `mask_identity_cards`, `mask_bank_cards`, `mask_phones`, bool, and
            `repeats`, int; nothing by default. `TextCleaner.get_config()` gives them.

    Returns:
        A string tensor of the same shape.

    Raises:
        RuntimeError: If the native library is not there.
    """
    if isinstance(texts, tf.RaggedTensor):
        return texts.with_flat_values(text_cleaning(texts.flat_values, name, **switches))
    return required_ops("text_cleaning").kerasllm_text_cleaning(texts=texts, name=name, **switches)
