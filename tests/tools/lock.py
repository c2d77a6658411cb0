"""Pin every dependency with hashes, and without any address: `make lock`."""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPILE = (
    *("python", "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--upgrade"),
    *("--no-header", "--no-annotate"),
)


def compile_to(target: str, *sources: Path, within: str | None = None) -> None:
    """Resolve `sources` for every platform and Python from 3.11 on, into `target`."""
    bounds = ("--constraint", str(ROOT / within)) if within else ()
    binary = ROOT / ".venv/bin"
    command = [str(binary / COMPILE[0]), *COMPILE[1:], *map(str, sources), *bounds]
    subprocess.run([*command, "--output-file", str(ROOT / target)], check=True)


def main() -> None:
    """Runtime first; the development set may add to it, never change it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        runtime, development = Path(folder, "runtime.in"), Path(folder, "development.in")
        runtime.write_text("\n".join(project["project"]["dependencies"]))
        development.write_text("\n".join(project["dependency-groups"]["dev"]))
        compile_to("constraints.txt", runtime)
        compile_to("constraints-dev.txt", runtime, development, within="constraints.txt")


if __name__ == "__main__":
    main()
