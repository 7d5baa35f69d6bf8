"""The page: Chainlit as one reader of turns among others, the best looking one.

Nothing here imports Chainlit before `environment.prepare` has run: it reads its environment when
it is imported.
"""
