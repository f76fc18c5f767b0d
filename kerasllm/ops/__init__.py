"""One function a family, on any Keras backend: the fused op on TensorFlow where it serves, else the
same maths in keras.ops."""

from kerasllm.ops.adamw import adamw
from kerasllm.ops.attention import attention
from kerasllm.ops.cached_attention import cached_attention
from kerasllm.ops.dense import dense
from kerasllm.ops.dropout import dropout
from kerasllm.ops.embedding import embedding
from kerasllm.ops.feed_forward import feed_forward
from kerasllm.ops.few_rows_product import few_rows_product, few_rows_products
from kerasllm.ops.gather_positions import gather_positions
from kerasllm.ops.gelu import gelu, gelu_tanh
from kerasllm.ops.layer_norm import layer_norm
from kerasllm.ops.linear_cross_entropy import linear_cross_entropy
from kerasllm.ops.lstm import lstm
from kerasllm.ops.random import draw_seed, random_uniform

__all__ = [
    "adamw",
    "attention",
    "cached_attention",
    "dense",
    "draw_seed",
    "dropout",
    "embedding",
    "feed_forward",
    "few_rows_product",
    "few_rows_products",
    "gather_positions",
    "gelu",
    "gelu_tanh",
    "layer_norm",
    "linear_cross_entropy",
    "lstm",
    "random_uniform",
]
