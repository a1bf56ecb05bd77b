"""The `Range` header, where nginx and the tasks service read it differently."""

import re

from flask import request

# One range. Of several ones nginx makes multipart/byteranges, and the tasks service serves none;
# nginx refuses tabs, and numbers beyond 63 bits, such as the 18446744073709551615 of some players.
_RANGE = re.compile("bytes= *[0-9]{0,18} *- *[0-9]{0,18} *", re.IGNORECASE)


def can_nginx_cut() -> bool:
    """Return whether nginx cuts the current request's range as the tasks service would."""
    header = request.headers.get("Range", "")
    is_of_bytes = header.partition("=")[0].strip().lower() == "bytes"
    return not is_of_bytes or _RANGE.fullmatch(header) is not None
