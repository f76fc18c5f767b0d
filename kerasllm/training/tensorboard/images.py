"""Pictures as image summaries."""

import io

from kerasllm.evaluation.plots import plot_confusion_matrix


def write_confusion_matrix(writer, tag, counts, step, class_names=None):
    """Draws a confusion matrix and writes it as an image summary.

    Args:
        writer: A writer of `tf.summary`.
        tag: The image's tag.
        counts: `(num_classes, num_classes)`, `[true, predicted]`: counts, or shares.
        step: The step.
        class_names: The name of each class; their numbers by default.
    """
    import tensorflow as tf

    if class_names is None:
        class_names = [str(number) for number in range(len(counts))]
    if (counts == counts.round()).all():
        counts = counts.astype(int)
    else:
        counts = counts.round(2)
    file = io.BytesIO()
    plot_confusion_matrix(file, counts, class_names)
    image = tf.io.decode_png(file.getvalue(), channels=3)
    with writer.as_default(step):
        tf.summary.image(tag, image[tf.newaxis])
