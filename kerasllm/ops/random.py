"""Seeds for dropout inside fused ops, and the ops' random numbers in keras.ops."""

from keras import ops

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def draw_seed(seed_generator):
    """The next seed of a `keras.random.SeedGenerator`, as the fused ops take it.

    Args:
        seed_generator: The generator; its state moves on.

    Returns:
        int32 `(2,)`.
    """
    return ops.cast(ops.mod(seed_generator.next(), 2**31 - 1), "int32")


def dropout_factors(seed, shape, rate):
    """What dropout multiplies elements by: `1 / (1 - rate)` for those kept, else zero.

    Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3,
    2011), counted by row and column: the same bits that the fused ops make, on any backend with
    64-bit integers (JAX has them with `jax_enable_x64`).

    Args:
        seed: int32 `(2,)`.
        shape: The tensor's shape, of rank 1 at least; all axes but the last are rows.
        rate: The share of elements dropped, in `[0, 1)`, taken to the nearest 1/65536.

    Returns:
        float32 of this shape.
    """
    columns = shape[-1]
    rows = 1
    for size in shape[:-1]:
        rows = rows * size
    threshold = min(int(rate * 65536 + 0.5), 65535)
    groups = -(-columns // 8)
    row = ops.expand_dims(ops.arange(rows, dtype="int64"), 1)
    group = ops.expand_dims(ops.arange(groups, dtype="int64"), 0)
    zero = row * 0 + group * 0
    counter = [zero + group, zero + _low(row), zero + _high(row), zero]
    seed = _low(ops.cast(seed, "int64"))
    words = _philox(counter, seed[0], seed[1])
    # Low half of word 0 first: (rows, groups, 8).
    halves = [
        half
        for word in words
        for half in (ops.bitwise_and(word, 0xFFFF), ops.right_shift(word, 16))
    ]
    bits = ops.reshape(ops.stack(halves, axis=-1), (rows, groups * 8))[:, :columns]
    factors = ops.cast(bits >= threshold, "float32") * (65536 / (65536 - threshold))
    return ops.reshape(factors, shape)


def random_uniform(seed, size):
    """Uniform random numbers that follow from the seed alone, on any backend.

    Args:
        seed: int32 `(2,)`.
        size: How many.

    Returns:
        float32 `(size,)` in `[0, 1)`, of 24 random bits each.
    """
    number = ops.arange(size, dtype="int64")
    zero = number * 0
    seed = _low(ops.cast(seed, "int64"))
    word = _philox([number, zero, zero, zero], seed[0], seed[1])[0]
    return ops.cast(ops.right_shift(word, 8), "float32") / 2**24


def _low(word):
    return ops.bitwise_and(word, _WORD)


def _high(word):
    return _low(ops.right_shift(word, 32))


def _philox(counter, key0, key1):
    c0, c1, c2, c3 = counter
    for _ in range(10):
        # In 64-bit integers, whose overflow keeps the low 64 bits.
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ops.bitwise_xor(ops.bitwise_xor(_high(second), c1), key0),
            _low(second),
            ops.bitwise_xor(ops.bitwise_xor(_high(first), c3), key1),
            _low(first),
        )
        key0, key1 = _low(key0 + _KEY_STEPS[0]), _low(key1 + _KEY_STEPS[1])
    return c0, c1, c2, c3
