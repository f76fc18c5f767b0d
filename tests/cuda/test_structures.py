"""The structures that Python mirrors by hand are those that the library was compiled with."""

import ctypes

import pytest

from benchmarks.cuda import structures


def test_a_structure_that_does_not_follow_the_header_is_a_sentence(kernels):
    structures.check_structures(kernels._handle)
    shorter = type("GeluForward", (ctypes.Structure,), {"_fields_": [("shape", ctypes.c_int64)]})
    with pytest.raises(RuntimeError, match=r"GeluForward has \d+ bytes in .* and 8 in"):
        structures.check_structures(kernels._handle, {"GeluForward": shorter})
    with pytest.raises(RuntimeError, match="does not know Missing; build it again"):
        structures.check_structures(kernels._handle, {"Missing": shorter})
