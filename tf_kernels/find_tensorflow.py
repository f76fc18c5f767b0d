"""Prints TensorFlow's folder and version as a CMake list, without importing TensorFlow."""

import importlib.metadata
import importlib.util
import pathlib
import sys


def tensorflow_version():
    for name in ("tensorflow", "tensorflow-cpu", "tensorflow-intel"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def main():
    spec = importlib.util.find_spec("tensorflow")
    version = tensorflow_version()
    if spec is None or version is None or not spec.submodule_search_locations:
        sys.exit(
            f"TensorFlow was not found by {sys.executable}; install it there first, or install "
            "kerasllm without --no-build-isolation."
        )
    folder = pathlib.Path(spec.submodule_search_locations[0])
    if not (folder / "include").is_dir():
        sys.exit(f"The TensorFlow in {folder} brings no C++ headers; install a standard wheel.")
    print(f"{folder};{version}")


if __name__ == "__main__":
    main()
