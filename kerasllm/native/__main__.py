"""Prints what there is to know about the native library; the exit status says if it is found."""

import sys

from kerasllm import native


def main():
    info = native.info()
    for key, value in info.items():
        if isinstance(value, list):
            value = ", ".join(value) or "-"
        print(f"{key.replace('_', ' '):26} {'-' if value is None else value}")
    return 0 if info["found"] else 1


if __name__ == "__main__":
    sys.exit(main())
