"""Seeing what Keras shows to no callback: the batch and the gradients of each training step."""

import functools

import keras


def hook_train_step(model, see):
    """Lets a function see the data of each training step, inside the compiled step.

    Args:
        model: A Keras model on TensorFlow.
        see: A function of what the step gets: inputs, or a tuple of inputs, labels and weights.

    Returns:
        A function that takes the hook out again.
    """

    def wrap(train_step):
        def step(data):
            see(data)
            return train_step(data)

        return step

    return _hook(model, model, "train_step", wrap)


def hook_gradients(model, see):
    """Lets a function see the gradients of each training step, inside the compiled step.

    They are the mean over the batch, before any clipping, without the scale of a loss scale.

    Args:
        model: A compiled Keras model on TensorFlow.
        see: A function of the gradients (tensors, `tf.IndexedSlices` or None) and the variables.

    Returns:
        A function that takes the hook out again.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)

    def wrap(apply):
        def apply_gradients(gradients, trainable_variables=None):
            variables = trainable_variables
            see(gradients, model.trainable_variables if variables is None else variables)
            return apply(gradients, trainable_variables)

        return apply_gradients

    return _hook(model, optimizer, "apply", wrap)


def _hook(model, owner, name, wrap):
    """Puts `wrap(method)` in the method's place; the steps are compiled anew, with it.

    Of a `fit` that was interrupted the hook stays until the model is trained again, and then goes.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Gradient norms and throughput are counted inside TensorFlow's training step, but the "
            f"Keras backend is {keras.backend.backend()}. Leave these parts out."
        )
    before, method = owner.__dict__.get(name), getattr(owner, name)
    wrapper = functools.wraps(method)(wrap(method))
    hooked = functools.wraps(method)(lambda *args, **kwargs: wrapper(*args, **kwargs))
    setattr(owner, name, hooked)
    guard = _guard(model)
    model.make_train_function(force=True)

    def unhook():
        nonlocal wrapper
        wrapper = method
        guard.unhooks.remove(unhook)
        if not guard.unhooks:
            del model.make_train_function
        if owner.__dict__.get(name) is not hooked:
            pass  # another hook lies over this one, which now does nothing
        elif before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)  # another hook
        model.train_function = None

    guard.unhooks.append(unhook)
    return unhook


def _guard(model):
    """Takes hooks out when another `fit` begins, for `fit` tells nobody that it was broken off."""
    guard = model.__dict__.get("make_train_function")
    if guard is None:
        make_train_function = model.make_train_function

        def guard(force=False):
            if not force:
                for unhook in reversed(list(guard.unhooks)):
                    unhook()
            return make_train_function(force=force)

        guard.unhooks = []
        model.make_train_function = guard
    return guard
