"""The fake model server: what real ones write, byte for byte, and every way in which they fail.

For demos, for tests, and for the CI of whoever talks to model servers. Stands alone: it imports
nothing of the engine, nor of the providers that it is there to deceive.
"""
