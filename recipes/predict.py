"""Classifies texts, one a line, with a model that chinese_text_classification.py trained.

    python recipes/predict.py --model-dir runs/reviews --input new.txt --output new.csv
    python recipes/predict.py --model-dir runs/reviews        # type a line, read the answer

The output has a line for each line of the input, in its order: label, probability, text. A line
without text keeps its place, with an empty label. A file begins with the mark by which Excel sees
that it is UTF-8; standard output does not.
"""

import argparse
import csv
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasllm import TextClassifier
from kerasllm.data import read_texts
from kerasllm.files import atomic_write

COLUMNS = ("label", "probability", "text")


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-dir", required=True, help="the recipe's --output-dir")
    parser.add_argument(
        "--input", default="-", help="text file, a text a line; - is standard input"
    )
    parser.add_argument("--encoding", help="of the input file; recognised by default")
    parser.add_argument("--output", default="-", help="CSV file; - is standard output")
    return parser.parse_args(arguments)


def classify(classifier, texts):
    """One (label, probability, text) for each text; a blank text has no label."""
    filled = [row for row, text in enumerate(texts) if text.strip()]
    predictions = classifier.predict([texts[row] for row in filled])
    results = [("", "", text) for text in texts]
    for row, (label, probability) in zip(filled, predictions, strict=True):
        results[row] = (label, f"{probability:.4f}", texts[row])
    return results


def answer_lines(classifier, lines, output):
    """Answers line by line, as soon as each is there."""
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS)
    output.flush()
    for line in lines:
        writer.writerows(classify(classifier, [line.rstrip("\r\n")]))
        output.flush()


def main(arguments=None):
    arguments = parse_arguments(arguments)
    if arguments.input == "-":
        texts = None
    else:
        texts = read_texts(arguments.input, encoding=arguments.encoding)
    classifier = TextClassifier.load(arguments.model_dir)
    if texts is None and arguments.output == "-":
        answer_lines(classifier, sys.stdin, sys.stdout)
        return
    if texts is None:
        texts = [line.rstrip("\r\n") for line in sys.stdin]
    results = classify(classifier, texts)
    if arguments.output == "-":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([COLUMNS, *results])
    else:
        with atomic_write(arguments.output, encoding="utf-8-sig", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *results])
        print(f"{len(results)} lines: {arguments.output}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
