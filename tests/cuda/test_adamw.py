import numpy as np
import pytest
import torch
from checking import GUARD

SIZES = [1, 3, 4, 59, 4096, 4097, 12345]


def update(parameters, momentums, velocities, gradients, o, decays, multipliers):
    """Keras's AdamW, one operation after the other."""
    clipped = gradients
    if o["global_clipnorm"]:
        norm = torch.sqrt(sum(g.double().square().sum() for g in gradients)).to(gradients[0].dtype)
        factor = o["global_clipnorm"] * torch.minimum(
            1 / norm, 1 / norm.new_tensor(o["global_clipnorm"])
        )
        clipped = [g * factor for g in gradients]
    for i, gradient in enumerate(clipped):
        rate, alpha = (o[name] * multipliers[i] for name in ("learning_rate", "alpha"))
        if decays[i]:
            parameters[i] -= parameters[i] * o["weight_decay"] * rate
        momentums[i] += (gradient - momentums[i]) * o["momentum_rate"]
        velocities[i] += (gradient * gradient - velocities[i]) * o["velocity_rate"]
        parameters[i] -= momentums[i] * alpha / (velocities[i].sqrt() + o["epsilon"])


def narrow(value):
    """The float32 nearest to it, as a Python number."""
    return torch.tensor(value, dtype=torch.float32).item()


@pytest.mark.parametrize("clipnorm", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_steps(kernels, dtype, clipnorm):
    device = kernels.device
    generator = torch.Generator().manual_seed(0)
    # More parameters than one launch takes, some where vectors do not fit.
    sizes = SIZES * 6 + ([10_000_001] if device == "cuda" else [])
    offsets = [i % 2 for i in range(len(sizes))]

    def make(scale, make_dtype=torch.float32):
        whole, parts = [], []
        for size, offset in zip(sizes, offsets, strict=True):
            memory = torch.full((size + 2 * GUARD + 1,), torch.nan, dtype=make_dtype)
            memory[GUARD + offset : GUARD + offset + size] = (
                torch.randn(size, generator=generator) * scale
            ).to(make_dtype)
            memory = memory.to(device)
            whole.append(memory)
            parts.append(memory[GUARD + offset : GUARD + offset + size])
        return whole, parts

    options = {
        "momentum_rate": narrow(0.1),
        "velocity_rate": narrow(0.001),
        "epsilon": narrow(1e-7),
        "weight_decay": narrow(0.01),
        "global_clipnorm": clipnorm,
    }
    state = [make(1.0), make(0.1), make(0.1)]
    for velocity in state[2][1]:
        velocity.abs_()
    _, gradients = make(0.3, dtype)
    decays = [i % 3 != 0 for i in range(len(sizes))]
    multipliers = [narrow(0.5 + i % 2) for i in range(len(sizes))]
    rates = {"learning_rate": narrow(0.01), "alpha": narrow(0.003)}
    wide = [[part.double() for part in parts] for _, parts in state]
    plain = [[part.clone() for part in parts] for _, parts in state]
    everything = options | rates
    update(*wide, [g.double() for g in gradients], everything, decays, multipliers)
    update(*plain, [g.float() for g in gradients], everything, decays, multipliers)
    scalars = [torch.tensor(value, dtype=torch.float32, device=device) for value in rates.values()]
    kernels.adamw(
        *(parts for _, parts in state),
        gradients,
        *scalars,
        decays=decays,
        multipliers=multipliers,
        **options,
    )
    for kind, (whole, parts) in enumerate(state):
        for memory, part, expected, stock in zip(
            whole, parts, wide[kind], plain[kind], strict=True
        ):
            assert memory.isnan().sum() == 2 * GUARD + 1, "written outside, or a NaN inside"
            limit = 2 * (stock - expected).abs().max() + 1e-7
            assert (part.double() - expected).abs().max() <= limit


def test_each_operation_is_rounded_by_itself(kernels):
    """The bits of NumPy's float32 operations, as on the CPU."""
    generator = np.random.default_rng(0)
    names = ("parameter", "momentum", "velocity", "gradient")
    values = {name: generator.normal(size=5001).astype("float32") for name in names}
    values["velocity"] = np.abs(values["velocity"])
    tensors = {name: torch.from_numpy(value).to(kernels.device) for name, value in values.items()}
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    rate, alpha, decay, epsilon = (np.float32(v) for v in (0.01, 0.003, 0.02, 1e-7))
    momentum_rate, velocity_rate = np.float32(0.1), np.float32(0.001)
    kernels.adamw(
        *([tensors[name]] for name in names),
        torch.tensor(rate, device=kernels.device),
        torch.tensor(alpha, device=kernels.device),
        weight_decay=float(decay),
    )
    parameter, momentum, velocity, gradient = values.values()
    parameter = parameter - parameter * decay * rate
    momentum = momentum + (gradient - momentum) * momentum_rate
    velocity = velocity + (gradient * gradient - velocity) * velocity_rate
    parameter = parameter - momentum * alpha / (np.sqrt(velocity) + epsilon)
    for name, expected in zip(names, (parameter, momentum, velocity), strict=False):
        assert np.array_equal(tensors[name].cpu().numpy(), expected), name


@pytest.mark.parametrize("offset", [0, 1], ids=["vectors", "unaligned"])
def test_master_weights(kernels, offset):
    """A bfloat16 variable gets its master rounded; where it was assigned, the master takes that."""
    generator = np.random.default_rng(1)
    size = 4103
    values = {
        name: generator.normal(size=size).astype("float32")
        for name in ("parameter", "momentum", "velocity", "gradient")
    }
    values["velocity"] = np.abs(values["velocity"])
    values["parameter"][:3] = 1.00390625, -1.01171875, 0.0  # ties, to even down and up
    variable = torch.from_numpy(values["parameter"]).to(torch.bfloat16)
    assigned = torch.zeros(size, dtype=torch.bool)
    assigned[::7] = True
    assigned[2] = True
    variable[assigned] += 1.0  # never the master, rounded
    variable[2] = -0.0  # equal to its master in value, not in bits

    def place(tensor):
        memory = torch.full((size + 2 * GUARD + 1,), torch.nan, dtype=tensor.dtype)
        memory[GUARD + offset : GUARD + offset + size] = tensor
        memory = memory.to(kernels.device)
        return memory, memory[GUARD + offset : GUARD + offset + size]

    placed = {name: place(torch.from_numpy(value)) for name, value in values.items()}
    placed["variable"] = place(variable)
    tensors = {name: part for name, (_, part) in placed.items()}
    rate, alpha, decay, epsilon = (np.float32(v) for v in (0.01, 0.003, 0.02, 1e-7))
    others = [torch.ones(5, device=kernels.device) for _ in range(4)]
    kernels.adamw(
        *([others[i], tensors[name]] for i, name in enumerate(values)),
        torch.tensor(rate, device=kernels.device),
        torch.tensor(alpha, device=kernels.device),
        weight_decay=float(decay),
        rounded=[None, tensors["variable"]],
    )
    parameter, momentum, velocity, gradient = values.values()
    parameter = np.where(assigned.numpy(), variable.float().numpy(), parameter)
    parameter = parameter - parameter * decay * rate
    momentum = momentum + (gradient - momentum) * np.float32(0.1)
    velocity = velocity + (gradient * gradient - velocity) * np.float32(0.001)
    parameter = parameter - momentum * alpha / (np.sqrt(velocity) + epsilon)
    assert np.array_equal(tensors["parameter"].cpu().numpy(), parameter)
    assert torch.equal(tensors["variable"].cpu(), torch.from_numpy(parameter).to(torch.bfloat16))
    for name, (memory, _) in placed.items():
        assert memory.isnan().sum() == 2 * GUARD + 1, f"{name}: written outside, or a NaN inside"
