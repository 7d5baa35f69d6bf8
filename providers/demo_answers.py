# ruff: noqa: RUF001 - Chinese and Japanese have their own punctuation
"""Demo answers: what the demo says, in the languages of the page.

No text of it is a model's; who reads it may have nothing else to learn from how to connect one.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """The answer around `{question}`, what it quotes for none, and what is said of llama.cpp."""

    answer: str
    nothing: str
    pull: str


ANSWERS: Final = {
    "en": DemoAnswer(
        """\
Demo provider: no model is connected. This text is fixed, nothing was generated.

You wrote:

{question}

To connect a model, set one of these and restart:

- `OPENAI_API_KEY` for OpenAI
- `OPENAI_BASE_URL` for a server that speaks OpenAI's dialect (vLLM, Ollama, llama.cpp)
- `TGI_BASE_URL` for Text Generation Inference

Or start Ollama on this machine and restart: it is found by itself.""",
        "(nothing)",
        " Or run `parley models pull`, which fetches a small model, and restart.",
    ),
    "de": DemoAnswer(
        """\
Demo: Es ist kein Modell angeschlossen. Dieser Text steht fest, nichts davon wurde erzeugt.

Du hast geschrieben:

{question}

Um ein Modell anzuschließen, setz eines davon und starte neu:

- `OPENAI_API_KEY` für OpenAI
- `OPENAI_BASE_URL` für einen Server, der den Dialekt von OpenAI spricht (vLLM, Ollama, llama.cpp)
- `TGI_BASE_URL` für Text Generation Inference

Oder starte Ollama auf diesem Rechner und danach Parley neu: Es wird von selbst gefunden.""",
        "(nichts)",
        " Oder ruf `parley models pull` auf, das ein kleines Modell lädt, und starte neu.",
    ),
    "fr": DemoAnswer(
        """\
Démo : aucun modèle n'est connecté. Ce texte est fixe, rien n'a été généré.

Vous avez écrit :

{question}

Pour connecter un modèle, définissez l'une de ces variables et redémarrez :

- `OPENAI_API_KEY` pour OpenAI
- `OPENAI_BASE_URL` pour un serveur qui parle le dialecte d'OpenAI (vLLM, Ollama, llama.cpp)
- `TGI_BASE_URL` pour Text Generation Inference

Ou lancez Ollama sur cette machine et redémarrez : il est trouvé tout seul.""",
        "(rien)",
        " Ou lancez `parley models pull`, qui télécharge un petit modèle, et redémarrez.",
    ),
    "es": DemoAnswer(
        """\
Demo: no hay ningún modelo conectado. Este texto es fijo, no se generó nada.

Escribiste:

{question}

Para conectar un modelo, define una de estas variables y reinicia:

- `OPENAI_API_KEY` para OpenAI
- `OPENAI_BASE_URL` para un servidor que habla el dialecto de OpenAI (vLLM, Ollama, llama.cpp)
- `TGI_BASE_URL` para Text Generation Inference

O inicia Ollama en este equipo y reinicia: se encuentra solo.""",
        "(nada)",
        " O ejecuta `parley models pull`, que descarga un modelo pequeño, y reinicia.",
    ),
    "zh": DemoAnswer(
        """\
演示：尚未连接模型。这段文字是固定的，没有任何内容是生成的。

您写道：

{question}

要连接模型，请设置以下任一变量并重启：

- `OPENAI_API_KEY`：用于 OpenAI
- `OPENAI_BASE_URL`：用于兼容 OpenAI 接口的服务器（vLLM、Ollama、llama.cpp）
- `TGI_BASE_URL`：用于 Text Generation Inference

或在本机启动 Ollama 后重启：会自动发现。""",
        "（无）",
        "也可以运行 `parley models pull` 下载一个小模型，然后重启。",
    ),
    "ja": DemoAnswer(
        """\
デモ：モデルが接続されていません。この文章は固定で、生成されたものではありません。

入力された内容：

{question}

モデルを接続するには、次のいずれかを設定して再起動してください。

- `OPENAI_API_KEY`：OpenAI 用
- `OPENAI_BASE_URL`：OpenAI 互換のサーバー用（vLLM、Ollama、llama.cpp）
- `TGI_BASE_URL`：Text Generation Inference 用

このマシンで Ollama を起動してから再起動しても、自動的に見つかります。""",
        "（なし）",
        "`parley models pull` で小さなモデルを取得し、再起動することもできます。",
    ),
}
