"""Tests of the source itself: what a linter has no rule for."""
