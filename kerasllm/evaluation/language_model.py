"""How well a language model predicts texts: perplexity, bits by character and by byte."""

import math

import numpy as np

from kerasllm.data.corpus import Corpus
from kerasllm.data.language_model_rows import LanguageModelEncoder
from kerasllm.data.token_cache import tokenize_corpus

_MEASURES = (
    *("nats_per_token", "perplexity", "nats_per_character", "bits_per_character"),
    "bits_per_byte",
)


def evaluate_language_model(model, cache, window=256, stride=None, batch_size=32, max_tokens=None):
    """The losses of a corpus under a model, by a sliding window.

    The corpus is read as training reads it: each document after an end token, and at its end the
    end token is predicted; documents do not see each other. A window takes `window` tokens and
    moves on by `stride`; of all windows but the first only the predictions that no earlier one made
    count, so that each has a context of at least `window - stride` tokens, or all that there is in
    its document.

    By characters, the end of a document counts as one, the end of its line: so for a file of a
    document a line, and for a file that is one document, the measures are those of the file.

    Args:
        model: A language model with `token_losses(inputs)`, see `kerasllm.models.LanguageModel`.
        cache: A `TokenCache` of the texts, made with `LanguageModelEncoder`.
        window: Tokens that the model sees at once; not more than it was trained for. 256 by
            default.
        stride: Tokens by which a window moves on; half a window by default.
        batch_size: Windows for each call of the model.
        max_tokens: No more than about so many tokens from the beginning, for a quick estimate.

    Returns:
        A dict of `nats_per_token`, `perplexity`, `nats_per_character`, `bits_per_character`,
        `bits_per_byte` and `tokens`. With `max_tokens` the measures by character and byte take the
        whole corpus's number of tokens for each.

    Raises:
        ValueError: If window or stride make no sense.
    """
    if window < 1:
        raise ValueError(f"window is {window}; expected 1 or more.")
    if stride is None:
        stride = max(1, window // 2)
    if not 0 < stride <= window:
        raise ValueError(f"stride is {stride}; expected 1 to {window}, the window.")
    total = nats = 0
    for inputs in sliding_windows(cache, window, stride, batch_size):
        nats += float(np.sum(np.asarray(model.token_losses(inputs), np.float64)))
        total += int(np.count_nonzero(inputs["labels"] != -1))
        if max_tokens is not None and total >= max_tokens:
            break
    per_token = nats / total
    tokens = len(cache)
    per_character = per_token * tokens / (cache.characters + cache.documents)
    per_byte = per_token * tokens / (cache.bytes + cache.documents)
    return {
        "nats_per_token": per_token,
        "perplexity": math.exp(min(per_token, 700.0)),
        "nats_per_character": per_character,
        "bits_per_character": per_character / math.log(2),
        "bits_per_byte": per_byte / math.log(2),
        "tokens": total,
    }


def sliding_windows(cache, window, stride, batch_size):
    """The inputs of the windows over a corpus, with the label -1 where a prediction is no new one.

    Args:
        cache: A `TokenCache`.
        window: Tokens of a window.
        stride: Tokens by which it moves on.
        batch_size: Windows of a batch.

    Yields:
        Dicts of `"token_ids"`, `"labels"` and, where there is more than one document,
        `"segment_ids"`, int32 `(windows, window)`. A corpus shorter than a window gives a shorter
        one.
    """
    total = len(cache)
    window = min(window, total)
    begins = list(range(0, total - window + 1, stride))
    if begins[-1] + window < total:
        begins.append(total - window)
    predicted_to = 0  # the first token whose next one has not been predicted
    for first in range(0, len(begins), batch_size):
        starts = np.asarray(begins[first : first + batch_size])
        places = starts[:, None] + np.arange(window + 1)
        # The last document ends too, with the token that begins all of them.
        token_ids = cache.token_ids[np.where(places < total, places, 0)].astype(np.int32)
        labels = token_ids[:, 1:].copy()
        for row, begin in enumerate(starts):
            labels[row, : predicted_to - begin] = -1
            predicted_to = begin + window
        inputs = {"token_ids": np.ascontiguousarray(token_ids[:, :-1]), "labels": labels}
        if cache.documents > 1:
            documents = np.searchsorted(cache.document_starts, places[:, :-1], side="right")
            inputs["segment_ids"] = (documents - documents[:, :1]).astype(np.int32)
        yield inputs


def evaluate_language_model_on_files(model, tokenizer, paths, documents="auto", **options):
    """`evaluate_language_model` of files and folders.

    Args:
        model: The language model.
        tokenizer: Its tokenizer, such as a `kerasllm.text.CharVocabularyTokenizer`.
        paths: Files and folders; `kerasllm.data.Corpus` has what may be in them.
        documents: What a document is, see there. As in training.
        **options: Of `evaluate_language_model`.
    """
    corpus = Corpus(paths, documents=documents, deduplicate=False)
    cache = tokenize_corpus(corpus, LanguageModelEncoder(tokenizer))
    return evaluate_language_model(model, cache, **options)


def compare_language_models(models, cache, **options):
    """Evaluates several models on the same tokens, such as the n-gram floor and what is above it.

    Args:
        models: dict of name to model.
        cache: A `TokenCache`.
        **options: Of `evaluate_language_model`.

    Returns:
        A dict of name to the dict of `evaluate_language_model`, in the order given.
    """
    return {
        name: evaluate_language_model(model, cache, **options) for name, model in models.items()
    }


def format_language_models(reports):
    """A table of `compare_language_models`, as Markdown, for people and READMEs.

    Args:
        reports: What that function returns.
    """
    header = ["model", *(name.replace("_", " ") for name in _MEASURES)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name, report in reports.items():
        cells = [f"{report[measure]:.3f}" for measure in _MEASURES]
        cells[1] = f"{report['perplexity']:,.1f}"
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)
