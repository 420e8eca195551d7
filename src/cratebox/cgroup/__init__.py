"""Limits and accounting for a set of processes."""
