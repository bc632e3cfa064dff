"""Tests of generated input: the same input in every run, and no limit that a machine's speed decides."""

from hypothesis import HealthCheck, settings

steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
