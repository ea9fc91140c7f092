"""Measurements on recorded answers of real models: `python -m benchmarks.lineage`, `python -m benchmarks.identity`."""
