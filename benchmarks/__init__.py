"""Benchmarks: each figure beside its target and the baseline measured in the same run."""
