"""A transformer's layers in float64 NumPy, written from the papers, for tests."""

import math

import numpy as np


def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def silu(x):
    return x / (1 + np.exp(-x))


def layer_norm(x, gamma, beta, epsilon=1e-6):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon) * gamma + beta


def rms_norm(x, gamma, epsilon=1e-6):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * gamma


def rotary(x, wavelength, start=0):
    """Position by position, pair by pair: (batch, time, heads, head_dim)."""
    result, half = np.empty_like(x), x.shape[-1] // 2
    for t in range(x.shape[1]):
        for i in range(half):
            angle = (start + t) * wavelength ** (-i / half)
            a, b = x[:, t, :, i], x[:, t, :, half + i]
            result[:, t, :, i] = a * math.cos(angle) - b * math.sin(angle)
            result[:, t, :, half + i] = b * math.cos(angle) + a * math.sin(angle)
    return result


def weights_of(layer):
    """Path within the layer -> float64 array, such as "attention/query/kernel"."""
    return {
        weight.path.split("/", 1)[1]: np.array(weight, "float64")
        for weight in layer.weights
        if "seed" not in weight.path
    }


def dense(x, weights, name):
    return x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0.0)


def multi_head_attention(
    x, context, weights, name, num_heads, num_key_value_heads=None, visible=None, wavelength=None
):
    """One query at a time; `visible`, bool (batch, query_length, key_length), says what it sees."""
    num_key_value_heads = num_key_value_heads or num_heads

    def heads(tensor, count):
        return tensor.reshape(*tensor.shape[:2], count, -1)

    query = heads(dense(x, weights, f"{name}/query"), num_heads)
    key = heads(dense(context, weights, f"{name}/key"), num_key_value_heads)
    value = heads(dense(context, weights, f"{name}/value"), num_key_value_heads)
    if wavelength:
        query, key = rotary(query, wavelength), rotary(key, wavelength)
    outputs = np.zeros_like(query)
    for b in range(query.shape[0]):
        for t in range(query.shape[1]):
            seen = slice(None) if visible is None else visible[b, t]
            if visible is not None and not seen.any():
                continue
            for h in range(num_heads):
                group = h * num_key_value_heads // num_heads
                scores = key[b, seen, group] @ query[b, t, h] / math.sqrt(query.shape[-1])
                outputs[b, t, h] = softmax(scores) @ value[b, seen, group]
    return dense(outputs.reshape(*x.shape[:2], -1), weights, f"{name}/output")


def feed_forward(x, weights, activation="gelu"):
    hidden = dense(x, weights, "intermediate")
    if activation in ("geglu", "swiglu"):
        gate, value = np.split(hidden, 2, axis=-1)
        hidden = {"geglu": gelu, "swiglu": silu}[activation](gate) * value
    else:
        hidden = {"gelu": gelu, "relu": lambda h: np.maximum(h, 0)}[activation](hidden)
    return dense(hidden, weights, "output")


def block(
    x,
    weights,
    num_heads,
    mask=None,
    causal=False,
    context=None,
    context_mask=None,
    pre_norm=False,
    normalization="layer",
    activation="gelu",
    num_key_value_heads=None,
    wavelength=None,
):
    """An encoder block, or with a context (or `causal`) a decoder block."""
    time = x.shape[1]
    visible = np.ones((x.shape[0], time, time), bool)
    if mask is not None:
        visible &= mask[:, None, :]
    if causal:
        visible &= np.tril(np.ones((time, time), bool))
    groups = {"num_heads": num_heads, "num_key_value_heads": num_key_value_heads}

    def attend(states):
        return multi_head_attention(
            states, states, weights, "attention", **groups, visible=visible, wavelength=wavelength
        )

    def cross_attend(states):
        seen = None
        if context_mask is not None:
            seen = np.broadcast_to(
                context_mask[:, None, :], (x.shape[0], time, context_mask.shape[1])
            )
        return multi_head_attention(
            states, context, weights, "cross_attention", **groups, visible=seen
        )

    def normalize(states, name):
        if normalization == "rms":
            return rms_norm(states, weights[f"{name}/scale"])
        return layer_norm(states, weights[f"{name}/gamma"], weights[f"{name}/beta"])

    branches = [(attend, "attention_norm")]
    if context is not None:
        branches.append((cross_attend, "cross_attention_norm"))
    branches.append((lambda h: feed_forward(h, weights, activation), "feed_forward_norm"))
    for branch, name in branches:
        if pre_norm:
            x = x + branch(normalize(x, name))
        else:
            x = normalize(x + branch(x), name)
    return x
