"""OpenAI's own client, pointed at Parley."""

import os

from openai import OpenAI

URL = os.environ.get("PARLEY_URL", "http://localhost:8000")
MESSAGE = os.environ.get("MESSAGE", "What is a turn?")

# Guests need no key, but the client insists on one.
with OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("PARLEY_KEY", "guest")) as client:
    model = next(iter(client.models.list())).id
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": MESSAGE}], stream=True
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
