"""Tests of the core: what is a turn?"""
