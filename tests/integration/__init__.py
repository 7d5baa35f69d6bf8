"""Tests of one part of the product, or of the test services, against real servers."""
