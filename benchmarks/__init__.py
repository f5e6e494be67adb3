"""Compares cnnx with its peers on whole networks and on single layers: ``python -m benchmarks --help``."""
