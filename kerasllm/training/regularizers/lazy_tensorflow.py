"""TensorFlow, imported when it is first used: on other Keras backends the package does without."""


class _LazyModule:
    """Looks like the module `tensorflow`."""

    def __getattr__(self, name):
        import tensorflow

        return getattr(tensorflow, name)


tf = _LazyModule()
