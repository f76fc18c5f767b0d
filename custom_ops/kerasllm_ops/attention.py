"""The attention op: softmax attention without the matrix of scores, forward and backward."""

import tensorflow as tf

from kerasllm_ops.dropout import dropout
from kerasllm_ops.loader import load, required_ops

# What the kernels take for query, key and value, and the largest head_dim and value_dim.
DTYPES = ("float32", "bfloat16")
MAX_HEAD_DIM = 256

_ATTRIBUTES = ("scale", "causal", "window", "soft_cap", "dropout_rate")
_MASK = 3  # the mask's place among the op's inputs


def attention(
    query,
    key,
    value,
    lengths=None,
    mask=None,
    causal=False,
    window=None,
    query_offset=None,
    query_mask=None,
    scale=None,
    soft_cap=None,
    dropout_rate=0.0,
    seed=None,
    name=None,
):
    """Softmax attention, `dropout(softmax(scale * query . key + mask)) . value`, head by head.

    Scores live in tiles that stay in the cache and are made again for the gradient (Dao, Fu, Ermon,
    Rudra and Re, FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness, 2022;
    Dao, FlashAttention-2, 2023), with the softmax carried along (Milakov and Gimelshein, Online
    Normalizer Calculation for Softmax, 2018). Memory grows with the lengths, not with their
    product. What `lengths`, `causal`, `window` and masks exclude is not computed where whole tiles
    are excluded. Scores and sums are float32 whatever the dtype of the tensors. A query that sees
    no key gives zeros.

    On a GPU, where the host cannot look at them, values of `lengths` and `query_offset` out of
    range are no error but taken into it.

    Args:
        query: float32, bfloat16 or, on a GPU, float16,
            `(batch, query_length, num_heads, head_dim)`.
        key: `(batch, key_length, num_key_value_heads, head_dim)`; each of its heads serves
            `num_heads / num_key_value_heads` heads of `query` (Ainslie et al., GQA, 2023).
        value: `(batch, key_length, num_key_value_heads, value_dim)`. Dims are 1 to 256.
        lengths: int32 `(batch,)`; keys from there on are padding.
        mask: `(batch or 1, num_heads or 1, query_length or 1, key_length)`: bool, true where a
            query sees a key; or numbers that are added to the scores, which may have a gradient.
        causal: Whether a query sees no key after its own place.
        window: A query sees the `window` latest keys, that at its own place included, and, if not
            causal, as many the other way.
        query_offset: int32 `(batch,)`, the place of the first query among the keys, such as the
            number of keys cached before; 0 by default.
        query_mask: bool `(batch, query_length)`, false where a query sees no key.
        scale: What the products are multiplied by, a float; `1 / sqrt(head_dim)` by default.
        soft_cap: Scores become `soft_cap * tanh(score / soft_cap)`, a float above 0.
        dropout_rate: The share of probabilities dropped, in `[0, 1)`.
        seed: int32 `(2,)`, needed for dropout; equal seeds drop the same probabilities.
        name: The op's name.

    Returns:
        `(batch, query_length, num_heads, value_dim)`, in the dtype of `query`.

    Raises:
        RuntimeError: If the native library is not there.
        ValueError: If there is a dropout rate and no seed.
        InvalidArgumentError: If shapes do not fit each other, or a number is out of range.
    """
    ops = required_ops("attention")
    if dropout_rate and seed is None:
        raise ValueError(f"dropout_rate is {dropout_rate} and seed is None; expected a seed")
    query = tf.convert_to_tensor(query)
    if scale is None:
        scale = query.shape[-1] ** -0.5
    if mask is None:
        mask = tf.zeros((0, 0, 0, 0), tf.bool)
    mask = tf.convert_to_tensor(mask)
    # float16 masks come with float16 queries, which only GPUs take.
    half = (tf.bfloat16, tf.float16) if query.dtype == tf.float16 else (tf.bfloat16,)
    if mask.dtype not in (tf.bool, tf.float32, *half):
        mask = tf.cast(mask, tf.float32)
    outputs, _ = ops.kerasllm_attention(
        query=query,
        key=key,
        value=value,
        mask=mask,
        lengths=tf.zeros((0,), tf.int32) if lengths is None else lengths,
        query_offset=tf.zeros((0,), tf.int32) if query_offset is None else query_offset,
        query_mask=tf.zeros((0, 0), tf.bool) if query_mask is None else query_mask,
        seed=tf.zeros((2,), tf.int32) if seed is None else seed,
        scale=scale,
        causal=bool(causal),
        window=window or 0,
        soft_cap=soft_cap or 0.0,
        dropout_rate=dropout_rate,
        name=name,
    )
    return outputs


def _gradient(op, d_outputs, _):
    """Gradients of KerasllmAttention by its eight inputs."""
    outputs, log_sum_exp = op.outputs
    gradients = load().ops.kerasllm_attention_grad(
        *op.inputs,
        outputs,
        log_sum_exp,
        d_outputs,
        **{name: op.get_attr(name) for name in _ATTRIBUTES},
    )
    return [*gradients, _mask_gradient(op, d_outputs), None, None, None, None]


def _mask_gradient(op, d_outputs):
    """The gradient by an additive mask, whose size is that of the matrix of scores anyway; None for
    a bool mask, and in eager mode where it is not asked for. In a graph, what is not used is cut
    away."""
    if op.inputs[_MASK].dtype == tf.bool or _MASK in (
        getattr(op, "skip_input_indices", None) or ()
    ):
        return None
    query, key, value, mask, lengths, query_offset, query_mask, seed = op.inputs
    outputs, log_sum_exp = op.outputs
    attributes = {name: op.get_attr(name) for name in _ATTRIBUTES}
    query, key, value, outputs, d_outputs = (
        tf.cast(tensor, tf.float32) for tensor in (query, key, value, outputs, d_outputs)
    )
    batch, query_length, num_heads = tf.unstack(tf.shape(query)[:3])
    key_length = tf.shape(key)[1]
    group = num_heads // tf.shape(key)[2]
    key, value = tf.repeat(key, group, axis=2), tf.repeat(value, group, axis=2)
    scores = tf.einsum("bihd,bjhd->bhij", query, key) * attributes["scale"]
    if attributes["soft_cap"]:
        scores = attributes["soft_cap"] * tf.tanh(scores / attributes["soft_cap"])
    scores += tf.cast(mask, tf.float32)
    row_mask = tf.reshape(query_mask, (-1, 1, query_length, 1)) if _given(query_mask) else True
    seen = (
        tf.math.is_finite(log_sum_exp)[..., None]
        & row_mask
        & _visible(batch, query_length, key_length, lengths, query_offset, attributes)
    )
    probabilities = tf.where(seen, tf.exp(scores - log_sum_exp[..., None]), 0.0)
    d_probabilities = tf.einsum("bihd,bjhd->bhij", d_outputs, value)
    if attributes["dropout_rate"]:
        kept = dropout(tf.ones_like(probabilities), attributes["dropout_rate"], seed)
        d_probabilities *= kept
    mean = tf.einsum("bihd,bihd->bhi", outputs, d_outputs)
    d_scores = probabilities * (d_probabilities - mean[..., None])
    # Summed over the axes along which the mask was repeated.
    shapes = tf.shape(d_scores), tf.shape(mask)
    _, repeated = tf.raw_ops.BroadcastGradientArgs(s0=shapes[0], s1=shapes[1])
    d_mask = tf.reduce_sum(d_scores, axis=repeated, keepdims=True)
    return tf.cast(tf.reshape(d_mask, tf.shape(mask)), mask.dtype)


def _given(tensor):
    """Whether an optional input, empty for none, is there; its shape is known in part at least."""
    return tensor.shape.rank is not None and tensor.shape[-1] != 0


def _visible(batch, query_length, key_length, lengths, query_offset, attributes):
    """bool `(batch or 1, 1, query_length, key_length)`: what lengths, causal and window let see."""
    offset = tf.reshape(query_offset, (-1, 1, 1, 1)) if _given(query_offset) else 0
    place = tf.range(query_length)[:, None] + offset
    keys = tf.range(key_length)
    seen = keys < (tf.reshape(lengths, (-1, 1, 1, 1)) if _given(lengths) else key_length)
    if attributes["causal"]:
        seen &= keys <= place
    if attributes["window"]:
        seen &= place - keys < attributes["window"]
        seen &= keys - place < attributes["window"]
    return seen


def _no_second_gradient(op, *_):
    raise NotImplementedError(
        "The fused attention has no second derivative. For one (a gradient penalty, a Hessian), "
        "switch the fused ops off with KERASLLM_NATIVE=0, which gives keras.ops."
    )


if load().ops is not None:
    tf.RegisterGradient("KerasllmAttention")(_gradient)
    tf.RegisterGradient("KerasllmAttentionGrad")(_no_second_gradient)
