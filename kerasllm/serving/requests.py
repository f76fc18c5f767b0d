"""What a request to /predict may hold, and what is wrong with one that holds something else."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
        body_bytes: Size of the body.
        texts: Number of texts.
        text_characters: Length of a text.
    """

    body_bytes: int = 1 << 20
    texts: int = 256
    text_characters: int = 20_000


class BadRequest(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status, 4xx or 503.
        reason: Why, a sentence.
    """

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status, self.reason = status, reason


async def read_body(request, most):
    """The body of a request, of which no more is read than is allowed.

    Raises:
        BadRequest: If there is more.
    """
    too_large = BadRequest(413, f"The body is larger than {most} bytes; send fewer texts at once.")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and int(length) > most:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def parse_body(body, limits):
    """`(texts, whether all probabilities are asked for)` of a body.

    Raises:
        BadRequest: If it is not as it should be.
    """
    try:
        content = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRequest(
            400, f"The body is not UTF-8: {error.reason} at byte {error.start}."
        ) from error
    except RecursionError as error:
        raise BadRequest(400, "The body is nested too deeply.") from error
    except ValueError as error:
        raise BadRequest(400, f"The body is no JSON: {error}.") from error
    if not isinstance(content, dict) or "texts" not in content:
        raise BadRequest(400, 'The body should be an object with "texts": {"texts": ["..."]}.')
    unknown = sorted(content.keys() - {"texts", "probabilities"})
    if unknown:
        raise BadRequest(
            400, f'The body has {unknown[0]!r:.60}; it may have "texts" and "probabilities".'
        )
    wanted = content.get("probabilities", False)
    if not isinstance(wanted, bool):
        raise BadRequest(400, '"probabilities" should be true or false.')
    _check_texts(content["texts"], limits)
    return content["texts"], wanted


def _check_texts(texts, limits):
    if not isinstance(texts, list):
        raise BadRequest(400, f'"texts" should be a list of strings, not a {_kind(texts)}.')
    if not texts:
        raise BadRequest(400, '"texts" is empty; send one text at least.')
    if len(texts) > limits.texts:
        raise BadRequest(
            413, f'"texts" has {len(texts)} texts; send {limits.texts} at most at once.'
        )
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadRequest(400, f"texts[{position}] should be a string, not a {_kind(text)}.")
        if len(text) > limits.text_characters:
            raise BadRequest(
                413,
                f"texts[{position}] has {len(text)} characters; {limits.text_characters} are"
                " allowed.",
            )


def _kind(value):
    """What JSON calls a value."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
