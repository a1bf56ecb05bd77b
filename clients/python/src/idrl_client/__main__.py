"""Start the command `idrl`."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

_INTERRUPTED = 130


def main() -> NoReturn:
    """Import the command and run it; what it imports takes long enough to be interrupted."""
    try:
        import truststore  # noqa: F401 # which `run` imports

        from idrl_client.cli import main as run
    except KeyboardInterrupt:
        with suppress(OSError):  # its reader may be gone, as with every message
            os.write(2, b"idrl: interrupted\n")  # sys.stderr is None where it was closed
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
