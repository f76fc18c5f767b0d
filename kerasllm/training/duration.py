"""Times as people write them."""

import math
import re

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text):
    """The seconds of a time such as "90s", "30m", "1.5h" or "1h30m".

    Raises:
        ValueError: If it is no such time, or not above 0.
    """
    text = text.strip()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    seconds = sum(float(number) * SECONDS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is no time; expected one such as 90s, 30m, 1.5h or 1h30m.")
    return seconds
