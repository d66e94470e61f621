"""`selfsight ...` and `python -m selfsight ...` (which is also what torchrun starts)."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from selfsight import cli

    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
