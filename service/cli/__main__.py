"""`python -m service.cli` is `kompas`."""

from service.cli import main

main()
