"""The structures that launchers take: those of the headers in `tf_kernels`, field by field.

Each library says how large its structures are, and `check_structures` compares.
"""

import ctypes

_LETTERS = {"l": ctypes.c_int64, "f": ctypes.c_float, "b": ctypes.c_bool, "p": ctypes.c_void_p}


# The structures that launchers take, and not those that are parts of others.
_ARGUMENTS = {}


def _struct(name, **fields):
    """A ctypes structure; a field is a letter (int64, float, bool, pointer) or a structure."""
    types = [(key, _LETTERS.get(value, value)) for key, value in fields.items()]
    for _, part in types:
        _ARGUMENTS.pop(part.__name__, None)
    result = type(name, (ctypes.Structure,), {"_fields_": types})
    _ARGUMENTS[name] = result
    return result


def check_structures(library, structures=None):
    """Compares the structures here with those that the library was compiled with.

    Args:
        library: A `ctypes.CDLL`.
        structures: Dict of names and structures; all by default.

    Raises:
        RuntimeError: If the library has no structure of that name, or another size for it.
    """
    for name, structure in (_ARGUMENTS if structures is None else structures).items():
        try:
            size = getattr(library, f"kerasllm_cuda_sizeof_{name}")
        except AttributeError:
            raise RuntimeError(
                f"{library._name} does not know {name}; build it again, or export the size in the"
                " family's .cu (KERASLLM_CUDA_STRUCT)"
            ) from None
        size.restype = ctypes.c_int64
        if size() != ctypes.sizeof(structure):
            raise RuntimeError(
                f"{name} has {size()} bytes in {library._name} and {ctypes.sizeof(structure)} in"
                " benchmarks/cuda/structures.py: build the library again, or make the structure"
                " follow the family's header"
            )


Dropout = _struct(
    "Dropout", seed=ctypes.c_uint32 * 2, threshold=ctypes.c_uint32, scale="f", device_seed="p"
)
LayerNormShape = _struct("LayerNormShape", rows="l", dim="l", rms="b", dropout=Dropout)
LayerNormForward = _struct(
    "LayerNormForward",
    shape=LayerNormShape,
    epsilon="f",
    inputs="p",
    residual="p",
    gamma="p",
    beta="p",
    outputs="p",
    sum="p",
    mean="p",
    reciprocal_deviation="p",
)
LayerNormBackward = _struct(
    "LayerNormBackward",
    shape=LayerNormShape,
    sum="p",
    gamma="p",
    mean="p",
    reciprocal_deviation="p",
    d_outputs="p",
    d_sum="p",
    d_inputs="p",
    d_residual="p",
    d_gamma="p",
    d_beta="p",
)
GeluShape = _struct("GeluShape", rows="l", dim="l", kind=ctypes.c_int, gated="b")
GeluForward = _struct("GeluForward", shape=GeluShape, inputs="p", bias="p", outputs="p")
GeluBackward = _struct(
    "GeluBackward", shape=GeluShape, inputs="p", bias="p", d_outputs="p", d_inputs="p", d_bias="p"
)
EmbeddingLookup = _struct(
    "EmbeddingLookup",
    batch="l",
    time="l",
    dim="l",
    vocabulary="l",
    max_length="l",
    num_segments="l",
    start="l",
    token_ids="p",
    segment_ids="p",
    device_start="p",
)
EmbeddingForward = _struct(
    "EmbeddingForward", lookup=EmbeddingLookup, tokens="p", positions="p", segments="p", outputs="p"
)
EmbeddingBackward = _struct(
    "EmbeddingBackward",
    lookup=EmbeddingLookup,
    d_outputs="p",
    d_tokens="p",
    d_positions="p",
    d_segments="p",
)
AdamwParameter = _struct(
    "AdamwParameter",
    size="l",
    parameter="p",
    momentum="p",
    velocity="p",
    new_parameter="p",
    new_momentum="p",
    new_velocity="p",
    gradient="p",
    gradient_half="p",
    decays="b",
    multiplier="f",
    rounded="p",
    new_rounded="p",
)
AdamwStep = _struct(
    "AdamwStep",
    learning_rate="f",
    alpha="f",
    momentum_rate="f",
    velocity_rate="f",
    epsilon="f",
    weight_decay="f",
    global_clipnorm="f",
)
AdamwCuda = _struct(
    "AdamwCuda", parameters="p", num_parameters="l", step=AdamwStep, learning_rate="p", alpha="p"
)

LstmShape = _struct(
    "LstmShape",
    batch="l",
    time="l",
    input_dim="l",
    units="l",
    go_backwards="b",
    zero_output_for_mask="b",
    return_sequences="b",
)
_LSTM_FORWARD = (
    "inputs initial_hidden initial_cell kernel recurrent_kernel bias mask outputs final_hidden "
    "final_cell gates cells hidden"
).split()
_LSTM_BACKWARD = (
    "inputs initial_hidden initial_cell kernel recurrent_kernel mask gates cells hidden d_outputs "
    "d_final_hidden d_final_cell d_inputs d_initial_hidden d_initial_cell d_kernel "
    "d_recurrent_kernel d_bias"
).split()
LstmForward = _struct("LstmForward", shape=LstmShape, **dict.fromkeys(_LSTM_FORWARD, "p"))
LstmBackward = _struct("LstmBackward", shape=LstmShape, **dict.fromkeys(_LSTM_BACKWARD, "p"))
DropoutArgs = _struct(
    "DropoutArgs", rows="l", columns="l", dropout=Dropout, inputs="p", outputs="p"
)
LinearCrossEntropyInputs = _struct(
    "LinearCrossEntropyInputs",
    rows="l",
    vocabulary="l",
    dim="l",
    ignore_index="l",
    label_smoothing="f",
    z_loss="f",
    hidden_states="p",
    kernel="p",
    bias="p",
    labels="p",
)
LinearCrossEntropyForward = _struct(
    "LinearCrossEntropyForward",
    inputs=LinearCrossEntropyInputs,
    losses="p",
    correct="p",
    log_sum_exp="p",
    d_hidden_states="p",
    d_kernel="p",
    d_bias="p",
)
LinearCrossEntropyBackward = _struct(
    "LinearCrossEntropyBackward",
    inputs=LinearCrossEntropyInputs,
    d_losses="p",
    saved="b",
    saved_d_hidden_states="p",
    saved_d_kernel="p",
    saved_d_bias="p",
    d_hidden_states="p",
    d_kernel="p",
    d_bias="p",
)

AttentionShape = _struct(
    "AttentionShape",
    batch="l",
    query_length="l",
    key_length="l",
    num_heads="l",
    num_key_value_heads="l",
    head_dim="l",
    value_dim="l",
)
AttentionOptions = _struct(
    "AttentionOptions",
    scale="f",
    soft_cap="f",
    causal="b",
    window="l",
    lengths="p",
    query_offset="p",
    query_mask="p",
    mask_type=ctypes.c_int,
    mask="p",
    mask_batch_stride="l",
    mask_head_stride="l",
    mask_query_stride="l",
    dropout=Dropout,
)
_ATTENTION = dict(shape=AttentionShape, options=AttentionOptions, query="p", key="p", value="p")
AttentionForward = _struct("AttentionForward", **_ATTENTION, outputs="p", log_sum_exp="p")
AttentionBackward = _struct(
    "AttentionBackward",
    **_ATTENTION,
    outputs="p",
    log_sum_exp="p",
    d_outputs="p",
    d_query="p",
    d_key="p",
    d_value="p",
)
CachedAttentionShape = _struct(
    "CachedAttentionShape",
    batch="l",
    query_length="l",
    max_length="l",
    num_heads="l",
    num_key_value_heads="l",
    head_dim="l",
)
CachedAttention = _struct(
    "CachedAttention",
    shape=CachedAttentionShape,
    scale="f",
    window="l",
    start="l",
    first_key="p",
    query="p",
    key_cache="p",
    value_cache="p",
    outputs="p",
)
CacheUpdate = _struct("CacheUpdate", shape=CachedAttentionShape, start="l", rows="p", cache="p")
