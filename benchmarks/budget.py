"""How well a wall-time budget is kept: trains `mnist` once for each budget and compares.

    python benchmarks/budget.py 2m 10m

Run it on an idle machine.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nanoldm.cli.options import parse_duration


def main() -> None:
    for budget in sys.argv[1:] or ["2m", "10m"]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "nanoldm", "train", "mnist", "--budget", budget]
            began = time.monotonic()
            subprocess.run([*command, "--out", str(Path(folder) / "run")], check=True)
            seconds, wanted = time.monotonic() - began, parse_duration("budget", budget)
        off = 100 * (seconds / wanted - 1)
        print(f"--budget {budget}: took {seconds:.0f} s of {wanted:.0f} s ({off:+.1f} %)")


if __name__ == "__main__":
    main()
