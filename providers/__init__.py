"""How is a model reached? Connections, the dialects spoken on them, and the registry of models."""

from providers.config import Connection, Deadlines, LoopbackPorts, ProvidersConfig, RetryConfig
from providers.demo import DemoProvider
from providers.door import ask, connect
from providers.function import provider
from providers.ladder import open_registry
from providers.openai_compatible import OpenAICompatible
from providers.registry import Choice, Registry

__all__ = [
    "Choice",
    "Connection",
    "Deadlines",
    "DemoProvider",
    "LoopbackPorts",
    "OpenAICompatible",
    "ProvidersConfig",
    "Registry",
    "RetryConfig",
    "ask",
    "connect",
    "open_registry",
    "provider",
]
