"""The GPU kernels against PyTorch; needs a GPU, nvcc's build of the kernels and PyTorch, no more."""
