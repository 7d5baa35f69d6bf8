"""A real model server for tests: a model that the tests write themselves, and llama.cpp to serve it."""
