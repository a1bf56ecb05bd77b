"""Asks osv.dev, by pip-audit, which locked packages have known vulnerabilities.

Exits with 1 where there are some, and with 3 where an answer is missing: pip-audit itself exits
with 1 for both.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

VULNERABLE, UNREACHABLE = 1, 3
_TIMEOUT_S = 15
_OSV_URL = "https://api.osv.dev/v1/query"


def main(words: Sequence[str]) -> int:
    """Audit each lock and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pip_audit")
    parser.add_argument("locks", nargs="+", type=Path)
    parser.add_argument("--osv-url", default=_OSV_URL, help="the address of OSV's query API")
    arguments = parser.parse_args(words)
    vulnerabilities = set()
    for lock in arguments.locks:
        report = _audit(arguments.pip_audit, lock, arguments.osv_url)
        if report is None:
            print(f"not audited: no complete answer from {arguments.osv_url}", file=sys.stderr)
            return UNREACHABLE
        vulnerabilities |= set(_vulnerabilities(report))
        print(f"{lock}: {len(report['dependencies'])} packages checked")
    for line in sorted(vulnerabilities):
        print(line)
    return VULNERABLE if vulnerabilities else 0


def _audit(pip_audit: str, lock: Path, osv_url: str) -> dict[str, list[dict[str, object]]] | None:
    """Return pip-audit's report; None where it made none."""
    command = [pip_audit, "--requirement", str(lock), "--disable-pip", "--require-hashes"]
    command += ["--vulnerability-service", "osv", "--osv-url", osv_url, "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", str(_TIMEOUT_S)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    except ValueError:
        sys.stderr.write(_last_line(done.stderr))
        return None
    return report


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return f"{lines[-1]}\n" if lines else ""


def _vulnerabilities(report: dict[str, list[dict[str, object]]]) -> list[str]:
    lines = []
    for package in report["dependencies"]:
        vulnerabilities = package.get("vulns", [])
        assert isinstance(vulnerabilities, list)
        for each in vulnerabilities:
            fixed = ", ".join(each["fix_versions"]) or "no version"
            lines.append(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
