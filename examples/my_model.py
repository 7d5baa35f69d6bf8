"""A model in one file: name it in parley.toml, `plugins = ["my_model.py"]`, and it can be chosen.

An async generator runs on the event loop; a plain generator or function runs in a thread, so that
it may block. Whatever it yields is shown as it comes.
"""

import time

from providers import provider


@provider("shout")
async def shout(messages, **options):
    """Say the last message again, louder."""
    yield messages[-1].text.upper()


@provider("count")
def count(messages, **options):
    """Count the words, slowly: what blocks here stops nobody else."""
    for number, _ in enumerate(messages[-1].text.split(), 1):
        time.sleep(0.1)
        yield f"{number} "
