"""Every test of the ops runs on the CPU and, where TensorFlow has one, on the GPU."""

import pytest
import tensorflow as tf

DEVICES = ["CPU", "GPU"] if tf.config.list_physical_devices("GPU") else ["CPU"]


@pytest.fixture(autouse=True, params=DEVICES)
def device(request):
    """`"CPU"` or `"GPU"`, where the test's ops run unless it says otherwise."""
    if len(DEVICES) == 1:
        yield request.param
    else:
        with tf.device(f"/{request.param}:0"):
            yield request.param
