"""Writes a tiny Llama with random weights as a GGUF file, in a second and without a download.

    python -m tests.models.tiny_gguf OUT

The model knows nothing, but a real server loads it, applies its chat template, and streams from it. Three things are
not left to chance, so that tests can rely on them (`_steer`): an answer is lower-case words and spaces, with no
Markdown for a page to swallow; it is never empty; and it ends by itself, with a full stop.
"""

import json
import pydoc_data.topics
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

VOCABULARY = 512
CONTEXT_TOKENS = 4096
HIDDEN = 64
FEED_FORWARD = 128
LAYERS = 2
HEADS = 4
SEED = 2026

PAD, START, END = SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
FULL_STOP = "."
# In a byte-level vocabulary "Ġ" is the space before a word.
PLAIN = re.compile(r"Ġ?[a-z]+|\.")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Vocabulary:
    """The trained byte-pair encoding: `tokens[i]` is the text of token `i`."""

    tokens: list[str]
    merges: list[str]

    def id_of(self, token: str) -> int:
        return self.tokens.index(token)


def write_tiny_gguf(path: Path) -> None:
    """Write the model to `path` (about 0.6 MB). The same Python writes the same bytes."""
    vocabulary = _train()
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer)
    _add_tokenizer(writer, vocabulary)
    for name, weights in _weights(vocabulary).items():
        writer.add_tensor(f"{name}.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _train() -> Vocabulary:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pydoc_data.topics.topics.values(), trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    return Vocabulary(
        tokens=sorted(trained["vocab"], key=trained["vocab"].__getitem__),
        merges=[" ".join(pair) for pair in trained["merges"]],
    )


def _add_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_name("parley-tiny-random")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    kinds = [
        gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL
        for token in vocabulary.tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(vocabulary.id_of(START))
    writer.add_eos_token_id(vocabulary.id_of(END))
    writer.add_pad_token_id(vocabulary.id_of(PAD))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _weights(vocabulary: Vocabulary) -> dict[str, Weights]:
    random = np.random.default_rng(SEED)

    def matrix(rows: int, columns: int, scale: float = 0.1) -> Weights:
        return random.normal(0.0, scale, (rows, columns)).astype(np.float32)

    weights = {
        "token_embd": matrix(VOCABULARY, HIDDEN, scale=1.0),
        "output": matrix(VOCABULARY, HIDDEN, scale=0.2),
        "output_norm": np.ones(HIDDEN, np.float32),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            weights[f"{block}.{norm}"] = np.ones(HIDDEN, np.float32)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights[f"{block}.{name}"] = matrix(HIDDEN, HIDDEN)
        for name in ("ffn_gate", "ffn_up"):
            weights[f"{block}.{name}"] = matrix(FEED_FORWARD, HIDDEN)
        weights[f"{block}.ffn_down"] = matrix(HIDDEN, FEED_FORWARD)
    _steer(weights, vocabulary)
    return weights


def _steer(weights: dict[str, Weights], vocabulary: Vocabulary) -> None:
    """Keep two dimensions of the residual stream out of the dice.

    Dimension 0 is the same for every token, so the output's column 0 is a bias: tokens that are not plain words get
    a large negative one. Dimension 1 is set by a full stop alone and outweighs that bias for the end token.
    """
    embedding, output = weights["token_embd"], weights["output"]
    full_stop, end = vocabulary.id_of(FULL_STOP), vocabulary.id_of(END)
    for layer in range(LAYERS):
        weights[f"blk.{layer}.attn_output"][:2] = 0.0
        weights[f"blk.{layer}.ffn_down"][:2] = 0.0
    embedding[:, 0], embedding[:, 1] = 4.0, 0.0
    embedding[full_stop, 1] = 8.0
    output[:, :2] = 0.0
    output[:, 0] = [0.0 if PLAIN.fullmatch(token) else -20.0 for token in vocabulary.tokens]
    output[full_stop, 0] = 0.5
    output[end, 1] = 60.0


if __name__ == "__main__":
    write_tiny_gguf(Path(sys.argv[1]))
