"""`python -m nanoldm` is `nanoldm`."""

from nanoldm.cli import main

main()
