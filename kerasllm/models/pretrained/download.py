"""Models by their names on the Hugging Face Hub."""

import pathlib
import re

_CONFIGS = ["config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"]
_SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
_TORCH = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def find_folder(name, revision=None):
    """The folder of a pretrained model, downloaded if it has to be.

    Args:
        name: A folder, or a name on the Hub such as `"hfl/chinese-macbert-base"`. What was
            downloaded before is taken from the Hub's cache on this machine.
        revision: A branch, a tag or a commit.

    Returns:
        A `pathlib.Path`.

    Raises:
        FileNotFoundError: If there is no such folder and no such model.
        ImportError: If the huggingface_hub package is needed and missing.
        ConnectionError: If the model is not in the cache and the Hub cannot be reached.
    """
    folder = pathlib.Path(name)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or not _NAME.fullmatch(str(name)):
        raise FileNotFoundError(f"There is no folder {name}.")
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ImportError(
            f"There is no folder {name} here, and downloading a model of this name needs the "
            "huggingface_hub package: pip install 'kerasllm[pretrained]'."
        ) from error

    def download(patterns):
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                str(name), revision=revision, allow_patterns=patterns, etag_timeout=10
            )
        )

    try:
        found = download(_CONFIGS + _SAFETENSORS)
        if not any(found.glob("*.safetensors")):
            found = download(_CONFIGS + _TORCH)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"There is no folder {name} here, and no such model or revision on the Hub."
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise ConnectionError(
            f"There is no folder {name} here, no model of this name in the Hub's cache, and the "
            "Hub cannot be reached. Check the network, or download the model elsewhere and give "
            f"its folder. ({type(error).__name__})"
        ) from error
    return found
