"""Short texts of every kind that people send, and how many tokens OpenAI's encodings make of them.

The texts were written for these tests; the counts are those of tiktoken 0.14, with vocabularies
of the checksums that it publishes.
"""

import json
from pathlib import Path

_SAMPLES = json.loads((Path(__file__).parent / "fixtures" / "samples.json").read_text("utf-8"))

SAMPLES: dict[str, str] = {kind: sample["text"] for kind, sample in _SAMPLES.items()}
REFERENCE: dict[str, list[int]] = {
    encoding: [sample[encoding] for sample in _SAMPLES.values()]
    for encoding in ("o200k_base", "cl100k_base")
}
