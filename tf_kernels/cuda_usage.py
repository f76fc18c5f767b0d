"""Registers, shared memory and spills of the GPU kernels, as ptxas reports them.

    python tf_kernels/cuda_usage.py [--target sm_80 sm_90 --] [FILE.cu ...]

Prints a line for each kernel and ends with status 1 if one spills registers to memory.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

WHEEL_FOLDERS = "nvidia/c*/bin"
FOLDER = pathlib.Path(__file__).resolve().parent


@dataclass
class Usage:
    """What one kernel takes; `spilled` and `shared` in bytes."""

    kernel: str
    target: str
    registers: int
    shared: int
    spilled: int


def parse(report):
    """The kernels in ptxas's verbose output, a list of `Usage`."""
    result, name, target, spilled = [], None, None, 0
    for line in report.splitlines():
        if found := re.search(r"Compiling entry function '(.+)' for '(\w+)'", line):
            name, target = found.groups()
            spilled = 0
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = sum(map(int, found.groups()))
        elif name and (found := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            shared = int(shared.group(1)) if shared else 0
            result.append(Usage(name, target, int(found.group(1)), shared, spilled))
            name = None
    return result


def find_nvcc():
    """The path of nvcc, or None: in PATH, in /usr/local/cuda, or that of the CUDA wheels."""
    wheels = [str(path) for folder in sys.path for path in pathlib.Path(folder).glob(WHEEL_FOLDERS)]
    return shutil.which("nvcc") or shutil.which(
        "nvcc", path=os.pathsep.join(["/usr/local/cuda/bin", *wheels])
    )


def measure(source, target="sm_90"):
    """Compiles one file for one target; a list of `Usage`."""
    number = target.removeprefix("sm_")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            find_nvcc(),
            "-std=c++17",
            "-O3",
            f"-I{FOLDER}",
            f"-gencode=arch=compute_{number},code={target}",
            "-Xptxas=-v",
            "-cubin",
            f"-o={folder}/kernels.cubin",
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return parse(done.stderr)


def demangled(names):
    if not shutil.which("c++filt"):
        return names
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True)
    clean = text.stdout.replace("kerasllm::", "").replace("(anonymous namespace)::", "")
    return [re.sub(r"\(.*\)$", "", line).removeprefix("void ") for line in clean.splitlines()]


def main():
    parser = argparse.ArgumentParser(description="Registers, shared memory and spills.")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--target", nargs="+", default=["sm_90"])
    arguments = parser.parse_args()
    if find_nvcc() is None:
        sys.exit("cuda_usage: no nvcc was found in PATH, /usr/local/cuda or CUDA wheels.")
    spills = 0
    for target in arguments.target:
        print(f"{'kernel':72} {'registers':>9} {'shared':>7} {'spilled':>7}   {target}")
        for source in arguments.files or sorted(FOLDER.glob("*/*_cuda.cu")):
            usages = measure(source, target)
            for usage, name in zip(usages, demangled([u.kernel for u in usages]), strict=True):
                spills += usage.spilled > 0
                print(f"{name:72} {usage.registers:9} {usage.shared:7} {usage.spilled:7}")
    return 1 if spills else 0


if __name__ == "__main__":
    sys.exit(main())
