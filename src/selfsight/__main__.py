"""`selfsight ...` and `python -m selfsight ...` (which is also what torchrun starts)."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Threads of a step wait asleep, not spinning: with the default, whatever else runs on the machine (our own decoding
    # threads too) makes a step many times slower. Read by OpenMP when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Fabric asks which version of it there is, and to be asked it loads transformers: a second, and nothing of ours.
    sys.modules.setdefault("torchmetrics", None)  # type: ignore[arg-type]
    from selfsight import cli

    code = cli.main(sys.argv[1:])
    gc.freeze()  # a last look at all that torch and timm brought would take a second
    sys.exit(code)


if __name__ == "__main__":
    main()
