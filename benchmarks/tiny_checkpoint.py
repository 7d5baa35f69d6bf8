"""Writes a tiny Llama with random weights as `transformers` loads it; run by a Python that has torch.

    python benchmarks/tiny_checkpoint.py DIRECTORY

The model knows nothing; that it never ends an answer by itself makes all answers of one length.
"""

import argparse
import inspect
import sys

import torch  # type: ignore[import-not-found]  # not a dependency: yardstick.py says where it is from
import transformers  # type: ignore[import-not-found]  # neither
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_START, _END = "<s>", "</s>"
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
_VOCABULARY = 512


def main(directory: str) -> None:
    """Write the model and its tokenizer."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=4096,
        bos_token_id=0,
        # None of its tokens: an answer is as long as it may be.
        eos_token_id=_VOCABULARY - 1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(directory)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_trained(), bos_token=_START, eos_token=_END, pad_token=_END
    )
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(directory)


def _trained() -> Tokenizer:
    """Train on text of the standard library."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([inspect.getsource(argparse)], trainer)
    return tokenizer


if __name__ == "__main__":
    main(sys.argv[1])
