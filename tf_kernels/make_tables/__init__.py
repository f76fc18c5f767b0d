"""Makes the tables of the text families: what Unicode, HTML and `tokenizers` say of characters.

They are those of Unicode 14, which is what Python 3.11 has. Run it with that Python, in the
project's environment, after a change to a pattern of kerasllm/text or to a table here:

    (cd tf_kernels && ../.venv/bin/python -m make_tables)

tests/native/test_make_tables.py makes them again and compares.
"""

import pathlib
import unicodedata

from make_tables import text_cleaning, unicode, wordpiece

UNIDATA_VERSION = "14.0.0"


def problem():
    """Why the tables cannot be made here, as a sentence, or None."""
    if unicodedata.unidata_version == UNIDATA_VERSION:
        return None
    return (
        f"The tables are those of Unicode {UNIDATA_VERSION}, this Python has"
        f" {unicodedata.unidata_version}: run Python 3.11."
    )


def files():
    """path -> text of each file that is made."""
    kernels = pathlib.Path(__file__).resolve().parents[1]
    package = kernels.parent / "kerasllm"
    wordpiece_tables = wordpiece.tables()
    return {
        kernels / "common" / "unicode_tables.cc": unicode.cpp(),
        kernels / "text_cleaning" / "tables.cc": text_cleaning.cpp(),
        kernels / "wordpiece" / "tables.cc": wordpiece.cpp(wordpiece_tables),
        package / "text" / "wordpiece_unicode.py": wordpiece.python(wordpiece_tables),
    }
