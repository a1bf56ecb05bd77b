"""Try ports of machines, all at once, and print the results: runs on any Python."""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SILENCE_S = 4.0


def try_port(address: str, port: int) -> str:
    """Return whether the port is open, refused or says nothing."""
    try:
        socket.create_connection((address, port), timeout=SILENCE_S).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silence"
    return "open"


def main(targets: dict[str, str], ports: list[int]) -> None:
    """Print a table of each target's ports."""
    with ThreadPoolExecutor(64) as pool:
        attempts = {
            name: {port: pool.submit(try_port, address, port) for port in ports}
            for name, address in targets.items()
        }
        print(
            json.dumps(
                {
                    name: {port: tried.result() for port, tried in row.items()}
                    for name, row in attempts.items()
                }
            )
        )


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
