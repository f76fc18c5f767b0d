"""The JSON files beside vocabularies, which say what was saved and how."""

from kerasllm.files import read_json_object


def read_config(path, kind, expected_format, version):
    """The content of a file, of the right format and version.

    Args:
        path: The file, a `pathlib.Path`.
        kind: What it should describe, for messages: `"tokenizer"`, `"text pipeline"`.
        expected_format: What it should have as `format`.
        version: What it should have as `version`.

    Returns:
        A dict.

    Raises:
        ValueError: If it is no JSON, or of another format or version.
    """
    config = read_json_object(path)
    if config.get("format") != expected_format:
        raise ValueError(
            f'{path} is no {kind} of kerasllm: it lacks "format": "{expected_format}".'
        )
    if config.get("version") != version:
        raise ValueError(
            f"{path} is of version {config.get('version')!r}, but this kerasllm reads version"
            f" {version}. Use the kerasllm that wrote it, or a newer one."
        )
    return config
