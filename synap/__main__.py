"""`python -m synap` is the `synap` program."""

from synap.cli import main

main()
