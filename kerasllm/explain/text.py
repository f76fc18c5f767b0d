"""From a text and a classifier to coloured words."""

import dataclasses

from kerasllm.explain.attention import attention_attribution
from kerasllm.explain.integrated_gradients import integrated_gradients
from kerasllm.explain.occlusion import occlusion

METHODS = {
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
    "attention": attention_attribution,
}


def explain_text(classifier, text, label=None, method="integrated_gradients", **options):
    """Which words of a text speak for its class, and which against.

    Examples:

    >>> found = kerasllm.explain.explain_text(classifier, "房间很干净，但是服务太差了")
    >>> print(found.to_terminal())

    Args:
        classifier: A `kerasllm.TextClassifier`.
        text: A str.
        label: The name of the class; the one that is predicted by default. Attention is of none.
        method: `"integrated_gradients"`, `"occlusion"` or `"attention"`.
        **options: Those of the method.

    Returns:
        An `Attribution` with the tokens that the model saw; where it saw an unknown one, the text
        that it stands for.

    Raises:
        ValueError: If there is no such method or class.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    pipeline = classifier.pipeline
    (token_ids,) = pipeline.encode([text])
    if method != "attention" and label is not None:
        (options["target"],) = pipeline.label_ids([label])
    found = METHODS[method](classifier.model, token_ids, **options)
    (tokens,) = pipeline.pieces([text])
    if not tokens:  # nothing is left of the text, and the model saw one unknown token
        tokens = [pipeline.vocabulary.tokens[token_id] for token_id in token_ids]
    name = found.label and classifier.labels[int(found.label)]
    return dataclasses.replace(found, tokens=tokens, label=name)
