"""What the search needs beyond the package's own dependencies."""


def require_keras_tuner():
    """The module `keras_tuner`, or an `ImportError` that says what to install."""
    try:
        import keras_tuner
    except ImportError as error:
        raise ImportError(
            'The search needs Keras Tuner: pip install "kerasllm[tuning]".'
        ) from error
    return keras_tuner
