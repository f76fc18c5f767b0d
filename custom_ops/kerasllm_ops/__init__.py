"""kerasllm's TensorFlow ops, usable without Keras layers: one module a family.

Examples:

>>> from kerasllm_ops.lstm import lstm
>>> outputs, final_hidden, final_cell = lstm(
...     inputs, initial_hidden, initial_cell, kernel, recurrent_kernel, bias
... )
"""

from kerasllm_ops.loader import load

__all__ = ["load"]
