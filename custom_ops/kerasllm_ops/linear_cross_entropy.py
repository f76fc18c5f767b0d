"""The linear cross-entropy op: a language model's last layer and its loss, without the logits."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops

# What the kernels take for hidden states and kernel.
DTYPES = ("float32", "bfloat16")
_OPTIONS = ("ignore_index", "label_smoothing", "z_loss")


def linear_cross_entropy(
    hidden_states,
    kernel,
    labels,
    bias=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    save_gradients=False,
    name=None,
):
    """Softmax cross-entropy of `hidden_states @ kernel.T + bias` against `labels`.

    The `(rows, vocabulary)` logits are made a few hundred rows at a time and never stored as a
    whole (Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024; Hsu et al.,
    Liger Kernel, 2024). The loss of a row is

        (1 - s) * (lse - logits[label]) + s * (lse - mean(logits)) + z_loss * lse**2

    with `lse` the log-sum-exp of its logits and `s` the label smoothing. Logits, statistics,
    losses and sums are float32 whatever the dtype of the tensors.

    The gradient needs no more than a multiplication if `save_gradients` was set and the losses
    that count are summed or averaged. If they are weighted one by one, the kernel's gradient is
    made again, at the price of a second pass.

    On a GPU, where the host cannot look at labels without waiting for the device, a label out of
    range is no error: its loss is NaN, and so are the gradients that it takes part in.

    Args:
        hidden_states: float32, bfloat16 or, on a GPU, float16, `(rows, dim)`.
        kernel: `(vocabulary, dim)`, such as an embedding matrix, in the dtype of `hidden_states`.
        labels: Integers `(rows,)`, each in `[0, vocabulary)` or `ignore_index`.
        bias: float32 `(vocabulary,)`, or None.
        ignore_index: Rows with this label have loss 0 and no gradient, and cost nothing.
        label_smoothing: The share of the target that is spread evenly over all classes, in
            `[0, 1]` (Szegedy et al., Rethinking the Inception Architecture for Computer Vision,
            2016).
        z_loss: Weight of `lse**2` in the loss, at least 0 (Chowdhery et al., PaLM: Scaling
            Language Modeling with Pathways, 2022).
        save_gradients: Make the gradients in the forward pass, while the logits are at hand. Set it
            in training; without it the gradient makes the logits a second time.
        name: The op's name.

    Returns:
        `(losses, correct, log_sum_exp)`: float32 `(rows,)`, bool `(rows,)` (whether the label has
        the largest logit, and no smaller id has the same) and float32 `(rows,)`. Gradients flow
        through `losses` alone.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other, or an option or, on the CPU, a label
            is out of range.
    """
    ops = required_ops("linear_cross_entropy")
    losses, correct, log_sum_exp, *_ = ops.kerasllm_linear_cross_entropy(
        hidden_states=hidden_states,
        kernel=kernel,
        bias=tf.zeros((0,), tf.float32) if bias is None else bias,
        labels=tf.cast(labels, tf.int32),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        save_gradients=save_gradients,
        name=name,
    )
    return losses, correct, tf.stop_gradient(log_sum_exp)


def _gradient(op, d_losses, *_):
    """Gradients of KerasllmLinearCrossEntropy by its four inputs."""
    gradients = load().ops.kerasllm_linear_cross_entropy_grad(
        *op.inputs,
        d_losses,
        *op.outputs[3:],
        saved=op.get_attr("save_gradients"),
        **{name: op.get_attr(name) for name in _OPTIONS},
    )
    return [*gradients, None]


def _no_second_gradient(op, *_):
    raise NotImplementedError(
        "The fused linear cross-entropy has no second derivative. For one (a gradient penalty, a "
        "Hessian), switch the fused ops off with KERASLLM_NATIVE=0, or call "
        "kerasllm.ops.linear_cross_entropy.composed_linear_cross_entropy."
    )


if load().ops is not None:
    tf.RegisterGradient("KerasllmLinearCrossEntropy")(_gradient)
    tf.RegisterGradient("KerasllmLinearCrossEntropyGrad")(_no_second_gradient)
