"""`make torture-NAME`: one torture; prints its line and exits with 1 when the target is missed.

Each is a module here with `async def run(short: bool) -> Line`; `--short` is what CI runs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib import import_module
from pathlib import Path

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if "async def run(short: bool)" in path.read_text()
)


def main() -> None:
    """Run one and say whether it holds."""
    parser = argparse.ArgumentParser(prog="make torture-NAME", description=__doc__)
    parser.add_argument("name", choices=[name.replace("_", "-") for name in NAMES])
    parser.add_argument("--short", action="store_true", help="a minute at most, as in CI")
    options = parser.parse_args()
    module = import_module(f"tests.torture.{options.name.replace('-', '_')}")
    line = asyncio.run(module.run(options.short))
    print(line)
    sys.exit(not (line.holds and (line.in_time or options.short)))


main()
