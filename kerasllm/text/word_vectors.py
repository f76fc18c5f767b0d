"""Reading pretrained word vectors in the text formats of word2vec and GloVe."""

import gzip
import pathlib


def read_word_vectors(path, vocabulary, seed=0):
    """An embedding matrix for a vocabulary, from a word2vec or GloVe text file.

    A line is a word and its numbers, separated by blanks. word2vec's first line, the number of
    words and of dimensions, is recognised. The file is read once, line by line, and only the words
    of the vocabulary are kept, so it may be larger than memory. Words that the file lacks get
    random vectors with the mean and deviation of those found; the padding gets zeros.

    Examples:

        embeddings, found = read_word_vectors("vectors.txt.gz", pipeline.vocabulary)
        model = kerasllm.models.EmbeddingLSTMClassifier(
            len(pipeline.vocabulary),
            num_classes=3,
            embedding_dim=embeddings.shape[1],
            pretrained_embeddings=embeddings,
        )

    Args:
        path: The file, UTF-8, plain or gzip.
        vocabulary: A `Vocabulary`.
        seed: Seed of the random vectors.

    Returns:
        A tuple `(embeddings, found)`: float32 `(len(vocabulary), dimensions)`, and the number of
        words of the vocabulary that the file has.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line has another number of dimensions than the lines before or something
            that is no number, or if no word of the vocabulary is found.
    """
    import numpy as np

    wanted = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    vectors, dimensions = {}, None
    for number, word, values in _lines(path):
        if dimensions is None:
            dimensions = len(values)
        if len(values) != dimensions:
            raise ValueError(
                f"{path}, line {number}: {len(values)} numbers, but {dimensions} in the lines "
                "before. The file is damaged, or no text file of word vectors."
            )
        if word in wanted and wanted[word] not in vectors:
            try:
                vectors[wanted[word]] = np.array(values, np.float32)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}.") from error
    if not vectors:
        raise ValueError(
            f"{path} has none of the {len(vocabulary)} words of the vocabulary. Is it in another "
            "language, or cut into other units (characters, words)?"
        )
    found = np.stack(list(vectors.values()))
    random = np.random.default_rng(seed)
    embeddings = random.normal(found.mean(), found.std(), (len(vocabulary), dimensions))
    embeddings[list(vectors)] = found
    embeddings[vocabulary.pad_id] = 0.0
    return embeddings.astype(np.float32), len(vectors)


def _lines(path):
    """Line number, word and numbers (as strings) of each line, without word2vec's header."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if zipped else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            # Only the blank and the tab separate: words may hold an ideographic space.
            word, *values = line.rstrip(" \t\r\n").replace("\t", " ").split(" ")
            if not values or (number == 1 and len(values) == 1):
                continue
            yield number, word, values
