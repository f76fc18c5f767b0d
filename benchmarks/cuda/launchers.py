"""The GPU kernels for PyTorch tensors, by ctypes: what `tests/cuda` and the benchmark share.

The library is that of `make cuda-library`, or the emulated one of `make test-native`, which runs
the same kernels on the CPU. What tensors hold and how large they are is not checked here.
"""

import ctypes
import math
import pathlib

import torch

from benchmarks.cuda.structures import (
    AdamwCuda,
    AdamwParameter,
    AdamwStep,
    AttentionBackward,
    AttentionForward,
    AttentionOptions,
    AttentionShape,
    CachedAttention,
    CachedAttentionShape,
    CacheUpdate,
    Dropout,
    DropoutArgs,
    EmbeddingBackward,
    EmbeddingForward,
    EmbeddingLookup,
    GeluBackward,
    GeluForward,
    GeluShape,
    LayerNormBackward,
    LayerNormForward,
    LayerNormShape,
    LinearCrossEntropyBackward,
    LinearCrossEntropyForward,
    LinearCrossEntropyInputs,
    LstmBackward,
    LstmForward,
    LstmShape,
    check_structures,
)

ROOT = pathlib.Path(__file__).parents[2]
LIBRARY = ROOT / "build/cuda/libkerasllm_cuda.so"
EMULATED_LIBRARY = ROOT / "build/native/libkerasllm_cuda_emulated.so"

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
KINDS = ("erf", "tanh", "silu", "relu")
MASK_TYPES = {torch.bool: 1, torch.float32: 2, torch.bfloat16: 3, torch.float16: 4}


def _pointer(tensor):
    return None if tensor is None else tensor.data_ptr()


def dropout(rate, seed):
    """`make_device_dropout`; `seed`: an int32 tensor of two words, or None for no dropout."""
    threshold = min(65535, int(rate * 65536 + 0.5))
    return Dropout((0, 0), threshold, 65536 / (65536 - threshold), _pointer(seed))


class Launchers:
    """The launchers of one library.

    Args:
        library: Its path.
        device: Where its kernels run: `"cuda"`, or `"cpu"` for the emulated ones.
        poisons: Whether scratch memory is filled with NaN, as kernels must not count on what they
            find there.

    Every method launches on PyTorch's current stream and does not wait. Tensors are contiguous;
    results are arguments too, so that tests can guard them.
    """

    def __init__(self, library, device, poisons=True):
        self.device, self._poisons = device, poisons
        self._handle = ctypes.CDLL(str(library))
        check_structures(self._handle)
        self._handle.kerasllm_cuda_error_string.restype = ctypes.c_char_p
        self._scratch = {}

    def set_order(self, seed):
        """Emulated only: shuffles the order in which threads run; 0 for none."""
        self._handle.kerasllm_cuda_set_order(ctypes.c_uint64(seed))

    def set_shared_limit(self, size):
        """Emulated only: the bytes of shared memory that a block may have."""
        self._handle.kerasllm_cuda_set_shared_limit(ctypes.c_int64(size))

    def _launch(self, name, kind, args, *more, scratch=False):
        """Calls a launcher with the struct `args`; `more` stands between it and the scratch."""
        memory = None
        if scratch:
            size = getattr(self._handle, f"kerasllm_cuda_{name}_scratch")
            size.restype = ctypes.c_int64
            memory = self._scratch_of(size(kind, ctypes.byref(args), *more))
        stream = torch.cuda.current_stream().cuda_stream if self.device == "cuda" else 0
        function = getattr(self._handle, f"kerasllm_cuda_{name}")
        error = function(
            kind,
            ctypes.byref(args),
            *more,
            ctypes.c_void_p(_pointer(memory)),
            ctypes.c_void_p(stream),
        )
        self._check(name, error)

    def _check(self, name, error):
        if error:
            text = self._handle.kerasllm_cuda_error_string(error).decode()
            raise RuntimeError(f"kerasllm_cuda_{name}: {text}")

    def _scratch_of(self, size):
        if not self._poisons:
            return torch.empty(max(size, 16), dtype=torch.uint8, device=self.device)
        memory = self._scratch.get(size)
        if memory is None:
            memory = torch.full((max(size, 16),), 0xFF, dtype=torch.uint8, device=self.device)
            self._scratch = {size: memory}
        return memory

    def mma_test(self, a, b, b_transposed, results):
        """The products of `common/cuda_mma_test.cu`."""
        stream = torch.cuda.current_stream().cuda_stream if self.device == "cuda" else 0
        pointers = [ctypes.c_void_p(_pointer(v)) for v in (a, b, b_transposed, results)]
        function = self._handle.kerasllm_cuda_mma_test
        self._check("mma_test", function(TYPES[a.dtype], *pointers, ctypes.c_void_p(stream)))

    def layer_norm_forward(
        self,
        inputs,
        outputs,
        mean,
        reciprocal_deviation,
        residual=None,
        sum=None,
        gamma=None,
        beta=None,
        epsilon=1e-6,
        rms=False,
        rate=0.0,
        seed=None,
    ):
        rows, dim = inputs.shape
        pointers = (inputs, residual, gamma, beta, outputs, sum, mean, reciprocal_deviation)
        args = LayerNormForward(
            LayerNormShape(rows, dim, rms, dropout(rate, seed)), epsilon, *map(_pointer, pointers)
        )
        self._launch("layer_norm_forward", TYPES[inputs.dtype], args)

    def layer_norm_backward(
        self,
        sum,
        mean,
        reciprocal_deviation,
        d_outputs,
        d_inputs,
        d_gamma,
        d_beta,
        gamma=None,
        d_sum=None,
        d_residual=None,
        rms=False,
        rate=0.0,
        seed=None,
    ):
        rows, dim = sum.shape
        pointers = (sum, gamma, mean, reciprocal_deviation, d_outputs, d_sum, d_inputs)
        pointers += (d_residual, d_gamma, d_beta)
        shape = LayerNormShape(rows, dim, rms, dropout(rate, seed))
        args = LayerNormBackward(shape, *map(_pointer, pointers))
        self._launch("layer_norm_backward", TYPES[sum.dtype], args, scratch=True)

    def dropout(self, inputs, outputs, rate, seed):
        args = DropoutArgs(*inputs.shape, dropout(rate, seed), *map(_pointer, (inputs, outputs)))
        self._launch("dropout", TYPES[inputs.dtype], args)

    def gelu_forward(self, inputs, outputs, bias=None, kind="erf", gated=False):
        shape = GeluShape(*outputs.shape, KINDS.index(kind), gated)
        args = GeluForward(shape, *map(_pointer, (inputs, bias, outputs)))
        self._launch("gelu_forward", TYPES[inputs.dtype], args)

    def gelu_backward(
        self, inputs, d_outputs, d_inputs, bias=None, d_bias=None, kind="erf", gated=False
    ):
        shape = GeluShape(*d_outputs.shape, KINDS.index(kind), gated)
        pointers = (inputs, bias, d_outputs, d_inputs, d_bias)
        args = GeluBackward(shape, *map(_pointer, pointers))
        self._launch("gelu_backward", TYPES[inputs.dtype], args, scratch=True)

    def _lookup(self, token_ids, start, tokens, positions, segments, segment_ids):
        rows = [0 if table is None else len(table) for table in (tokens, positions, segments)]
        ids = (token_ids, segment_ids, start)
        return EmbeddingLookup(*token_ids.shape, tokens.shape[1], *rows, 0, *map(_pointer, ids))

    def embedding_forward(
        self, token_ids, start, tokens, outputs, positions=None, segments=None, segment_ids=None
    ):
        lookup = self._lookup(token_ids, start, tokens, positions, segments, segment_ids)
        args = EmbeddingForward(lookup, *map(_pointer, (tokens, positions, segments, outputs)))
        kind = TYPES[tokens.dtype] * 4 + TYPES[outputs.dtype]
        self._launch("embedding_forward", kind, args)

    def embedding_backward(
        self,
        token_ids,
        start,
        d_outputs,
        d_tokens,
        d_positions=None,
        d_segments=None,
        segment_ids=None,
        deterministic=True,
    ):
        lookup = self._lookup(token_ids, start, d_tokens, d_positions, d_segments, segment_ids)
        pointers = (d_outputs, d_tokens, d_positions, d_segments)
        args = EmbeddingBackward(lookup, *map(_pointer, pointers))
        kind = TYPES[d_tokens.dtype] * 4 + TYPES[d_outputs.dtype]
        self._launch("embedding_backward", kind, args, int(deterministic), scratch=True)

    def adamw(
        self,
        parameters,
        momentums,
        velocities,
        gradients,
        learning_rate,
        alpha,
        momentum_rate=0.1,
        velocity_rate=0.001,
        epsilon=1e-7,
        weight_decay=0.0,
        global_clipnorm=0.0,
        decays=None,
        multipliers=None,
        rounded=None,
    ):
        """In place; `learning_rate` and `alpha` are float32 scalars on the device. `rounded`: a
        bfloat16 tensor or None for each parameter."""
        list_type = AdamwParameter * len(parameters)
        entries = list_type()
        for i, tensors in enumerate(zip(parameters, momentums, velocities, strict=True)):
            state, gradient = [_pointer(tensor) for tensor in tensors], gradients[i]
            half = gradient.dtype != torch.float32
            entries[i] = AdamwParameter(
                parameters[i].numel(),
                *state,
                *state,
                None if half else _pointer(gradient),
                _pointer(gradient) if half else None,
                True if decays is None else decays[i],
                1.0 if multipliers is None else multipliers[i],
                *[None if rounded is None else _pointer(rounded[i])] * 2,
            )
        rates = (momentum_rate, velocity_rate, epsilon, weight_decay, global_clipnorm)
        step = AdamwStep(math.nan, math.nan, *rates)
        args = AdamwCuda(
            ctypes.addressof(entries), len(entries), step, _pointer(learning_rate), _pointer(alpha)
        )
        float16 = any(gradient.dtype == torch.float16 for gradient in gradients)
        self._launch("adamw", 2 if float16 else 1, args, scratch=True)

    def _lstm_shape(self, tensors, flags):
        batch, time, input_dim = tensors["inputs"].shape
        units = len(tensors["recurrent_kernel"])
        return LstmShape(batch, time, input_dim, units, *flags)

    def lstm_forward(self, tensors, flags=(False, False, True)):
        """`tensors`: a dict by the names of `LstmForward`; `flags`: the last three of its shape."""
        pointers = [_pointer(tensors.get(name)) for name, _ in LstmForward._fields_[1:]]
        args = LstmForward(self._lstm_shape(tensors, flags), *pointers)
        self._launch("lstm_forward", TYPES[tensors["inputs"].dtype], args, scratch=True)

    def lstm_backward(self, tensors, flags=(False, False, True)):
        """The same of `LstmBackward`."""
        pointers = [_pointer(tensors.get(name)) for name, _ in LstmBackward._fields_[1:]]
        args = LstmBackward(self._lstm_shape(tensors, flags), *pointers)
        self._launch("lstm_backward", TYPES[tensors["inputs"].dtype], args, scratch=True)

    def _attention(
        self,
        query,
        key,
        value,
        scale,
        soft_cap=0.0,
        causal=False,
        window=0,
        lengths=None,
        query_offset=None,
        query_mask=None,
        mask=None,
        rate=0.0,
        seed=None,
    ):
        """The fields that forward and backward share."""
        batch, query_length, heads, head_dim = query.shape
        _, key_length, kv_heads, value_dim = value.shape
        strides = (0, 0, 0)
        if mask is not None:
            strides = [0 if mask.shape[axis] == 1 else mask.stride(axis) for axis in range(3)]
        options = AttentionOptions(
            scale,
            soft_cap,
            causal,
            window,
            *map(_pointer, (lengths, query_offset, query_mask)),
            0 if mask is None else MASK_TYPES[mask.dtype],
            _pointer(mask),
            *strides,
            dropout(rate, seed),
        )
        shape = (batch, query_length, key_length, heads, kv_heads, head_dim, value_dim)
        return AttentionShape(*shape), options, *map(_pointer, (query, key, value))

    def attention_forward(self, query, key, value, outputs, log_sum_exp, scale, **options):
        """`options`: those of `_attention`."""
        shared = self._attention(query, key, value, scale, **options)
        args = AttentionForward(*shared, _pointer(outputs), _pointer(log_sum_exp))
        self._launch("attention_forward", TYPES[query.dtype], args, scratch=True)

    def attention_backward(
        self,
        query,
        key,
        value,
        outputs,
        log_sum_exp,
        d_outputs,
        d_query,
        d_key,
        d_value,
        scale,
        deterministic=True,
        **options,
    ):
        shared = self._attention(query, key, value, scale, **options)
        pointers = (outputs, log_sum_exp, d_outputs, d_query, d_key, d_value)
        args = AttentionBackward(*shared, *map(_pointer, pointers))
        kind = TYPES[query.dtype]
        self._launch("attention_backward", kind, args, int(deterministic), scratch=True)

    def _vocabulary_inputs(self, hidden_states, kernel, labels, bias, options):
        rows, dim = hidden_states.shape
        pointers = map(_pointer, (hidden_states, kernel, bias, labels))
        return LinearCrossEntropyInputs(rows, len(kernel), dim, *options, *pointers)

    def linear_cross_entropy_forward(
        self,
        hidden_states,
        kernel,
        labels,
        losses,
        correct,
        log_sum_exp,
        bias=None,
        gradients=(None, None, None),
        options=(-100, 0.0, 0.0),
    ):
        """`gradients`: for the hidden states, the kernel and the bias, or None for no such;
        `options`: `ignore_index`, `label_smoothing` and `z_loss`."""
        args = LinearCrossEntropyForward(
            self._vocabulary_inputs(hidden_states, kernel, labels, bias, options),
            *map(_pointer, (losses, correct, log_sum_exp, *gradients)),
        )
        self._launch("linear_cross_entropy_forward", TYPES[kernel.dtype], args, scratch=True)

    def linear_cross_entropy_backward(
        self,
        hidden_states,
        kernel,
        labels,
        d_losses,
        results,
        bias=None,
        saved=None,
        options=(-100, 0.0, 0.0),
    ):
        """`results` and `saved`: as the `gradients` of forward; `saved` is None without them."""
        args = LinearCrossEntropyBackward(
            self._vocabulary_inputs(hidden_states, kernel, labels, bias, options),
            _pointer(d_losses),
            saved is not None,
            *map(_pointer, saved or (None, None, None)),
            *map(_pointer, results),
        )
        self._launch("linear_cross_entropy_backward", TYPES[kernel.dtype], args, scratch=True)

    def cached_attention(
        self,
        query,
        key_cache,
        value_cache,
        outputs,
        scale,
        start,
        window=0,
        first_key=None,
        device_start=None,
    ):
        """`device_start`: an int32 scalar on the device, taken instead of `start`."""
        batch, query_length, heads, dim = query.shape
        _, kv_heads, max_length, _ = key_cache.shape
        shape = CachedAttentionShape(batch, query_length, max_length, heads, kv_heads, dim)
        pointers = map(_pointer, (first_key, query, key_cache, value_cache, outputs))
        args = CachedAttention(shape, scale, window, start, *pointers)
        place = ctypes.c_void_p(_pointer(device_start))
        self._launch("cached_attention", TYPES[query.dtype], args, place, scratch=True)

    def cache_update(self, rows, cache, start, device_start=None):
        batch, length, kv_heads, dim = rows.shape
        shape = CachedAttentionShape(batch, length, cache.shape[2], kv_heads, kv_heads, dim)
        args = CacheUpdate(shape, start, _pointer(rows), _pointer(cache))
        place = ctypes.c_void_p(_pointer(device_start))
        self._launch("cache_update", TYPES[rows.dtype], args, place)
