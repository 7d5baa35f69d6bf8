# ruff: noqa: RUF001 - Chinese and Japanese have their own punctuation
"""Texts: what the page says itself, in the languages that it says it in.

Chainlit brings its own texts in many languages; these are ours. A browser gets the first language
that it asks for, or English.
"""

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True)
class Texts:
    """All that is said, in one language."""

    run_again: str
    stopped: str
    failed: str
    interrupted: str
    not_begun: str
    about: str
    earlier_note: str
    earlier: str
    model: str
    system_prompt: str
    temperature: str
    as_configured: str
    settings_kept: str
    tools: str
    may_use_tools: str
    images: str
    reasoning: str
    no_model: str
    down: str
    answered_by: str
    tokens: str
    tokens_in_out: str
    estimated: str
    first_text: str
    duration: str
    speed: str
    attempts: str
    seconds: str
    per_second: str
    offer: str
    offer_button: str
    fetch: str
    fetching: str
    fetched: str
    size: str
    licence: str
    not_named: str
    goes_to: str
    missing: str


ENGLISH: Final = Texts(
    run_again="Run again",
    stopped="Stopped",
    failed="Failed",
    interrupted="Interrupted",
    not_begun="*Stopped before the answer began.*",
    about="What the model saw, and what it cost",
    earlier_note="*Earlier messages are not shown.*",
    earlier="Show earlier messages",
    model="Model",
    system_prompt="System prompt",
    temperature="Temperature (0 to 2)",
    as_configured="as configured",
    settings_kept="The settings hold for this conversation from now on.",
    tools="tools",
    may_use_tools="Tools may be used (the web)",
    images="images",
    reasoning="reasoning",
    no_model="no model",
    down="not available",
    answered_by="Answered by",
    tokens="tokens",
    tokens_in_out="Tokens in / out",
    estimated="estimated",
    first_text="First text after",
    duration="Duration",
    speed="Speed",
    attempts="Attempts",
    seconds="s",
    per_second="tokens/s",
    offer="No model is connected. This machine can run a small one itself.",
    offer_button="A small local model",
    fetch="Fetch it",
    fetching="Fetching",
    fetched="The model is there: it answers from now on.",
    size="Size",
    licence="Licence",
    not_named="not named",
    goes_to="Goes to",
    missing="to fetch",
)
GERMAN: Final = Texts(
    run_again="Nochmals ausführen",
    stopped="Gestoppt",
    failed="Fehlgeschlagen",
    interrupted="Unterbrochen",
    not_begun="*Gestoppt, bevor die Antwort begann.*",
    about="Was das Modell gesehen hat und was es gekostet hat",
    earlier_note="*Frühere Nachrichten sind nicht zu sehen.*",
    earlier="Frühere Nachrichten zeigen",
    model="Modell",
    system_prompt="Systemanweisung",
    temperature="Temperatur (0 bis 2)",
    as_configured="wie eingerichtet",
    settings_kept="Die Einstellungen gelten ab jetzt für dieses Gespräch.",
    tools="Werkzeuge",
    may_use_tools="Werkzeuge sind erlaubt (das Web)",
    images="Bilder",
    reasoning="Nachdenken",
    no_model="kein Modell",
    down="nicht erreichbar",
    answered_by="Geantwortet hat",
    tokens="Token",
    tokens_in_out="Token hinein / heraus",
    estimated="geschätzt",
    first_text="Erster Text nach",
    duration="Dauer",
    speed="Tempo",
    attempts="Versuche",
    seconds="s",
    per_second="Token/s",
    offer="Kein Modell ist angeschlossen. Dieser Rechner kann selbst ein kleines ausführen.",
    offer_button="Ein kleines lokales Modell",
    fetch="Herunterladen",
    fetching="Wird geladen",
    fetched="Das Modell ist da: Ab jetzt antwortet es.",
    size="Größe",
    licence="Lizenz",
    not_named="nicht genannt",
    goes_to="Kommt nach",
    missing="zu laden",
)
FRENCH: Final = Texts(
    run_again="Relancer",
    stopped="Arrêté",
    failed="Échec",
    interrupted="Interrompu",
    not_begun="*Arrêté avant le début de la réponse.*",
    about="Ce que le modèle a vu, et ce qu'il a coûté",
    earlier_note="*Les messages précédents ne sont pas affichés.*",
    earlier="Afficher les messages précédents",
    model="Modèle",
    system_prompt="Consigne système",
    temperature="Température (0 à 2)",
    as_configured="selon la configuration",
    settings_kept="Les réglages valent désormais pour cette conversation.",
    tools="outils",
    may_use_tools="Outils permis (le web)",
    images="images",
    reasoning="raisonnement",
    no_model="pas de modèle",
    down="indisponible",
    answered_by="Réponse de",
    tokens="jetons",
    tokens_in_out="Jetons en entrée / sortie",
    estimated="estimation",
    first_text="Premier texte après",
    duration="Durée",
    speed="Débit",
    attempts="Tentatives",
    seconds="s",
    per_second="jetons/s",
    offer="Aucun modèle n'est connecté. Cette machine peut en exécuter un petit elle-même.",
    offer_button="Un petit modèle local",
    fetch="Télécharger",
    fetching="Téléchargement",
    fetched="Le modèle est là : il répond désormais.",
    size="Taille",
    licence="Licence",
    not_named="non précisée",
    goes_to="Emplacement",
    missing="à télécharger",
)
SPANISH: Final = Texts(
    run_again="Repetir",
    stopped="Detenido",
    failed="Falló",
    interrupted="Interrumpido",
    not_begun="*Detenido antes de que empezara la respuesta.*",
    about="Qué vio el modelo y cuánto costó",
    earlier_note="*Los mensajes anteriores no se muestran.*",
    earlier="Mostrar mensajes anteriores",
    model="Modelo",
    system_prompt="Instrucción del sistema",
    temperature="Temperatura (0 a 2)",
    as_configured="según la configuración",
    settings_kept="Los ajustes valen desde ahora para esta conversación.",
    tools="herramientas",
    may_use_tools="Se permiten herramientas (la web)",
    images="imágenes",
    reasoning="razonamiento",
    no_model="sin modelo",
    down="no disponible",
    answered_by="Respondió",
    tokens="tokens",
    tokens_in_out="Tokens de entrada / salida",
    estimated="estimado",
    first_text="Primer texto tras",
    duration="Duración",
    speed="Velocidad",
    attempts="Intentos",
    seconds="s",
    per_second="tokens/s",
    offer="No hay ningún modelo conectado. Este equipo puede ejecutar uno pequeño.",
    offer_button="Un pequeño modelo local",
    fetch="Descargar",
    fetching="Descargando",
    fetched="El modelo está listo: responde desde ahora.",
    size="Tamaño",
    licence="Licencia",
    not_named="no indicada",
    goes_to="Se guarda en",
    missing="por descargar",
)
CHINESE: Final = Texts(
    run_again="重新运行",
    stopped="已停止",
    failed="失败",
    interrupted="已中断",
    not_begun="*回答开始前已停止。*",
    about="模型看到的内容和消耗",
    earlier_note="*未显示更早的消息。*",
    earlier="显示更早的消息",
    model="模型",
    system_prompt="系统提示词",
    temperature="温度（0 到 2）",
    as_configured="按配置",
    settings_kept="设置从现在起对此对话生效。",
    tools="工具",
    may_use_tools="允许使用工具（网络）",
    images="图片",
    reasoning="推理",
    no_model="无模型",
    down="不可用",
    answered_by="回答者",
    tokens="词元",
    tokens_in_out="输入 / 输出词元",
    estimated="估计",
    first_text="首段文本用时",
    duration="总用时",
    speed="速度",
    attempts="尝试",
    seconds="秒",
    per_second="词元/秒",
    offer="尚未连接模型。本机可以自行运行一个小模型。",
    offer_button="小型本地模型",
    fetch="下载",
    fetching="正在下载",
    fetched="模型已就绪：从现在起由它回答。",
    size="大小",
    licence="许可证",
    not_named="未注明",
    goes_to="保存到",
    missing="待下载",
)
JAPANESE: Final = Texts(
    run_again="再実行",
    stopped="停止しました",
    failed="失敗しました",
    interrupted="中断されました",
    not_begun="*回答が始まる前に停止しました。*",
    about="モデルが見た内容と消費量",
    earlier_note="*以前のメッセージは表示されていません。*",
    earlier="以前のメッセージを表示",
    model="モデル",
    system_prompt="システムプロンプト",
    temperature="温度（0～2）",
    as_configured="設定どおり",
    settings_kept="設定はこれからこの会話に適用されます。",
    tools="ツール",
    may_use_tools="ツールの使用を許可（ウェブ）",
    images="画像",
    reasoning="推論",
    no_model="モデルなし",
    down="利用不可",
    answered_by="回答したモデル",
    tokens="トークン",
    tokens_in_out="入力 / 出力トークン",
    estimated="推定",
    first_text="最初のテキストまで",
    duration="所要時間",
    speed="速度",
    attempts="試行",
    seconds="秒",
    per_second="トークン/秒",
    offer="モデルが接続されていません。このマシンで小さなモデルを動かせます。",
    offer_button="小さなローカルモデル",
    fetch="取得する",
    fetching="取得中",
    fetched="モデルの準備ができました。これから回答します。",
    size="サイズ",
    licence="ライセンス",
    not_named="記載なし",
    goes_to="保存先",
    missing="残り",
)
LANGUAGES: Final = {
    "en": ENGLISH,
    "de": GERMAN,
    "fr": FRENCH,
    "es": SPANISH,
    "zh": CHINESE,
    "ja": JAPANESE,
}
KEYS: Final = tuple(field.name for field in fields(Texts))


def texts_of(language: str) -> Texts:
    """Give the texts of a language such as ``de-CH``."""
    return LANGUAGES.get(language.partition("-")[0].lower(), ENGLISH)
