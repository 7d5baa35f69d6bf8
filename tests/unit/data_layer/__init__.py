"""Tests of what the data layer works out without a database."""
