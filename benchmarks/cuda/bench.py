"""What every family of the GPU benchmark is timed with: PyTorch's side, and equality first.

PyTorch's side is its fused operation where it has one, else its operations one by one and, where
`torch.compile` works, compiled into one.
"""

import torch

from benchmarks.cuda import timing

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 6e-2, torch.float16: 1e-2}


class Bench:
    """Kernels, timer and options that the families share.

    Args:
        kernels: `launchers.Launchers`.
        timer: `timing.Timer`.
        copy_gbytes: Measured bandwidth of a copy.
        compiled: Whether to try `torch.compile`.
    """

    def __init__(self, kernels, timer, copy_gbytes, compiled):
        self.kernels, self.timer = kernels, timer
        self.copy_gbytes, self.compiled = copy_gbytes, compiled
        self.device = kernels.device
        self.rows = []
        self._peaks = {}

    def peak(self, dtype):
        """Measured TFLOP/s of a product of large matrices."""
        if dtype not in self._peaks:
            size = 8192 if self.device == "cuda" else 64
            self._peaks[dtype] = self.timer.matrix_peak(dtype, size)
            print(f"matrix product: {self._peaks[dtype]:.0f} TFLOP/s in {dtype}")
        return self._peaks[dtype]

    def normal(self, *shape, dtype=torch.float32):
        return torch.randn(*shape, device=self.device).to(dtype)

    def peers(self, function, *arguments):
        """Calls of `ways`."""
        ways = self.ways(function, *arguments)
        return {name: lambda way=way: way(*arguments) for name, way in ways.items()}

    def ways(self, function, *arguments):
        """PyTorch's ways to call the function: as it is and compiled."""
        result = {"torch": function}
        if self.compiled:
            try:
                fast = torch.compile(function, dynamic=False)
                fast(*arguments)
                result["torch compiled"] = fast
            except Exception as error:  # no compiler, an unknown GPU: the other way is left
                print(f"torch.compile: {type(error).__name__}: {error}"[:200])
        return result

    def peak_memory(self, function):
        """Bytes that a call asks for beyond what is there before; 0 without a GPU."""
        if self.device != "cuda":
            function()
            return 0
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def add(self, work, shape, dtype, ours, results, peers, size_bytes, flops=0):
        """Checks `results` of ours against the first of the peers, then times all."""
        ours()
        expected = next(iter(peers.values()))()
        expected = expected if isinstance(expected, (tuple, list)) else (expected,)
        for mine, theirs in zip(results, expected, strict=True):
            scale = max(1.0, theirs.abs().max().item())
            distance = (mine.float() - theirs.float()).abs().max().item()
            if not distance <= TOLERANCES[dtype] * scale:
                raise AssertionError(f"{work} {shape} {dtype}: differs by {distance}")
        times = self.timer.interleave({"ours": ours, **peers})
        peak = self.peak(dtype) if flops else 0.0
        self.rows += timing.rows(
            work, shape, dtype, times, size_bytes, self.copy_gbytes, flops, peak
        )


def gradients(outputs, leaves, d_outputs):
    """A call that makes the gradients of PyTorch's outputs by the leaves."""
    return lambda: torch.autograd.grad(outputs, leaves, d_outputs, retain_graph=True)
