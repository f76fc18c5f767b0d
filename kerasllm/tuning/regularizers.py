"""The regularisers that a sweep knows by name, each with one number for its strength."""

import dataclasses
from collections.abc import Callable

from kerasllm.text.augmentation import TextAugmenter
from kerasllm.training import (
    FGM,
    PGD,
    GradientPenalty,
    Mixup,
    RDrop,
    SmoothedCrossentropy,
    SparseFocalCrossentropy,
    SpatialDropout,
    VirtualAdversarial,
    WeightAverage,
    WeightDecay,
    WeightPenalty,
    WordDropout,
)


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What a regulariser changes in a training.

    Args:
        dropout: The model's dropout rate; None for the sweep's.
        loss: The loss; None for cross-entropy.
        regularizers: For `kerasllm.training.regularize`.
        callbacks: For `fit`, before those that save.
        augmenter: Makes a copy of each training text, or None.
        members: The number of models, trained from different seeds, that vote.
        patience: Epochs without better macro-F1 on a tenth of the training rows, held back for
            that, after which the training stops; the best epoch is kept. None for all epochs.
    """

    dropout: float | None = None
    loss: object = None
    regularizers: tuple = ()
    callbacks: tuple = ()
    augmenter: Callable | None = None
    members: int = 1
    patience: int | None = None


# R-Drop compares passes with different dropout, so it brings some.
R_DROP_RATE = 0.3

# name -> (strengths by default, the treatment of a strength)
REGULARIZERS = {
    "none": ((0.0,), lambda strength: Treatment()),
    "early_stopping": ((3.0,), lambda patience: Treatment(patience=int(patience))),
    "dropout": ((0.3, 0.5), lambda rate: Treatment(dropout=rate)),
    "word_dropout": ((0.1,), lambda rate: Treatment(regularizers=(WordDropout(rate),))),
    "spatial_dropout": ((0.3,), lambda rate: Treatment(regularizers=(SpatialDropout(rate),))),
    "l2": ((1e-4,), lambda l2: Treatment(regularizers=(WeightPenalty(l2=l2),))),
    "weight_decay": ((0.1,), lambda rate: Treatment(regularizers=(WeightDecay(rate),))),
    "label_smoothing": ((0.1,), lambda part: Treatment(loss=SmoothedCrossentropy(part))),
    "focal": ((2.0,), lambda gamma: Treatment(loss=SparseFocalCrossentropy(gamma))),
    "r_drop": (
        (1.0, 4.0),
        lambda alpha: Treatment(dropout=R_DROP_RATE, regularizers=(RDrop(alpha),)),
    ),
    "fgm": ((0.1, 0.5), lambda epsilon: Treatment(regularizers=(FGM(epsilon),))),
    "pgd": (
        (0.5,),
        lambda epsilon: Treatment(regularizers=(PGD(epsilon, step_size=epsilon / 2),)),
    ),
    "virtual_adversarial": (
        (0.5,),
        lambda epsilon: Treatment(regularizers=(VirtualAdversarial(epsilon),)),
    ),
    "gradient_penalty": (
        (0.1,),
        lambda weight: Treatment(regularizers=(GradientPenalty(weight),)),
    ),
    "mixup": ((0.2,), lambda alpha: Treatment(regularizers=(Mixup(alpha),))),
    "swa": ((1.0,), lambda start: Treatment(callbacks=(WeightAverage(start_epoch=int(start)),))),
    "ema": ((0.95,), lambda decay: Treatment(callbacks=(WeightAverage(decay),))),
    "augmentation": ((0.1,), lambda rate: Treatment(augmenter=TextAugmenter(rate))),
    "ensemble": ((3.0,), lambda members: Treatment(members=int(members))),
}


def treatment(name, strength):
    """The `Treatment` of a regulariser at a strength.

    Raises:
        ValueError: If there is no such regulariser, or it refuses the strength.
    """
    if name not in REGULARIZERS:
        raise ValueError(f"{name!r} is no regulariser; expected one of {', '.join(REGULARIZERS)}.")
    return REGULARIZERS[name][1](strength)
