"""A classifier for tests: real pipeline, tiny untrained model."""

import keras

from kerasllm import TextClassifier
from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.text import CharTokenizer, TextPipeline

LABELS = ["差评", "中评", "好评"]
TEXTS = [
    "房间很干净，还会再来",
    "味道一般，服务还行",
    "太难吃了",
    "上菜慢，等了一个小时，服务员还不理人，再也不来了",
    "好",
    "价格公道，量也足",
    "",
    "😀",
]


def make_classifier(labels=LABELS, seed=0):
    pipeline = TextPipeline.fit(TEXTS, tokenizer=CharTokenizer(), labels=labels, max_length=20)
    keras.utils.set_random_seed(seed)
    model = EmbeddingLSTMClassifier(
        len(pipeline.vocabulary), len(labels), 8, 8, bidirectional=True, pooling="max"
    )
    for weight in model.weights:
        weight.assign(3 * weight)  # so that the classes' probabilities differ
    return TextClassifier(model, pipeline)
