"""Tests of what is found out about model servers."""
