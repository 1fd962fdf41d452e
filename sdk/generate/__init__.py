"""Makes the typed surfaces of the kits from the command table; `python -m sdk.generate [--check]`."""
