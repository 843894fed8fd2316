"""Benchmarks: the native parsers against a pure-Python reference, and the server against its peers."""
