"""Where Parley holds on to Chainlit's inside: an upgrade that moves one of these fails here.

Each test names what stands on it, so that the one who upgrades knows where to look.
"""

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from parley.surfaces.page.doors import CLOSED, is_closed

ROOT = Path(__file__).parents[2]

# What Chainlit serves. A new line here is a decision: offer it, or close it (page/doors.py).
ROUTES = {
    "DELETE /feedback",
    "DELETE /mcp",
    "DELETE /project/element",
    "DELETE /project/thread",
    "GET /assets/{filename:path}",
    "GET /auth/config",
    "GET /auth/oauth/{provider_id}",
    "GET /auth/oauth/{provider_id}/callback",
    "GET /avatars/{avatar_id:str}",
    "GET /copilot/{filename:path}",
    "GET /docs",
    "GET /docs/oauth2-redirect",
    "GET /favicon",
    "GET /health",
    "GET /logo",
    "GET /openapi.json",
    "GET /project/file/{file_id}",
    "GET /project/settings",
    "GET /project/share/{thread_id}",
    "GET /project/thread/{thread_id}",
    "GET /project/thread/{thread_id}/element/{element_id}",
    "GET /project/translations",
    "GET /public/{filename:path}",
    "GET /redoc",
    "GET /user",
    "GET /{full_path:path}",
    "HEAD /",
    "MOUNT /ws/socket.io",
    "POST /auth/header",
    "POST /auth/jwt",
    "POST /auth/oauth/azure-ad-hybrid/callback",
    "POST /login",
    "POST /logout",
    "POST /mcp",
    "POST /project/action",
    "POST /project/file",
    "POST /project/threads",
    "POST /set-session-cookie",
    "PUT /feedback",
    "PUT /project/element",
    "PUT /project/thread",
    "PUT /project/thread/share",
}
# Chainlit's socket handlers and what each takes. Ours replace them or leave them unhandled.
HANDLERS = {
    "audio_chunk": ["sid", "payload"],
    "audio_end": ["sid"],
    "audio_start": ["sid"],
    "chat_settings_change": ["sid", "settings"],
    "chat_settings_edit": ["sid", "settings"],
    "clear_session": ["sid"],
    "client_message": ["sid", "payload"],
    "connect": ["sid", "environ", "auth"],
    "connection_successful": ["sid"],
    "disconnect": ["sid"],
    "edit_message": ["sid", "payload"],
    "fetch_favorites": ["sid"],
    "message_favorite": ["sid", "payload"],
    "stop": ["sid"],
    "window_message": ["sid", "data"],
}
EMITTER = {
    "task_start": ["self"],
    "task_end": ["self"],
    "send_step": ["self", "step_dict"],
    "update_step": ["self", "step_dict"],
    "send_token": ["self", "id", "token", "is_sequence", "is_input"],
    "resume_thread": ["self", "thread_dict"],
    "send_resume_thread_error": ["self", "error"],
    "set_favorites": ["self", "steps"],
}
SESSION = {
    "id",
    "socket_id",
    "emit",
    "emit_call",
    "user_env",
    "client_type",
    "environ",
    "thread_id",
    "user",
}
# Looked at in a process of its own: importing Chainlit makes files and changes the environment.
LOOK = """
import inspect, json, sys
import chainlit.server, chainlit.socket, chainlit.emitter, chainlit.session, chainlit.utils
from chainlit.auth import get_current_user
from starlette.routing import Mount

def names(function):
    return list(inspect.signature(function).parameters)

def routes(app):
    for route in app.router.routes:
        inner = getattr(route, "original_router", None)
        for found in (inner.routes if inner else [route]):
            if isinstance(found, Mount):
                yield "MOUNT " + found.path
                continue
            methods = set(found.methods)
            if "GET" in methods:
                methods.discard("HEAD")
            yield from (f"{method} {found.path}" for method in methods)

def dependencies(app):
    for route in app.router.routes:
        inner = getattr(route, "original_router", None)
        for found in (inner.routes if inner else [route]):
            dependant = getattr(found, "dependant", None)
            calls = [d.call for d in dependant.dependencies] if dependant else []
            if get_current_user in calls:
                yield found.path

sio, emitter = chainlit.server.sio, chainlit.emitter.ChainlitEmitter
json.dump({
    "routes": sorted(set(routes(chainlit.server.app))),
    "guarded": sorted(set(dependencies(chainlit.server.app))),
    "handlers": {name: names(handler) for name, handler in sio.handlers["/"].items()},
    "namespaces": list(sio.handlers),
    "emitter": {name: names(getattr(emitter, name)) for name in EMITTER},
    "session": names(chainlit.session.WebsocketSession),
    "session_methods": dir(chainlit.session.WebsocketSession),
    "restore": names(chainlit.socket.restore_existing_session),
    "mount": names(chainlit.utils.mount_chainlit),
    "get_environ": names(sio.get_environ),
    "is_connected": names(sio.manager.is_connected),
    "transports": sio.eio.transports,
    "max_frame": sio.eio.max_http_buffer_size,
    "stack_built": chainlit.server.app.middleware_stack is not None,
}, sys.stdout)
""".replace("EMITTER", repr(list(EMITTER)))


@cache
def chainlit() -> dict[str, Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "CHAINLIT_APP_ROOT": str(ROOT),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_the_routes_are_the_ones_we_know() -> None:
    routes = set(chainlit()["routes"])
    assert routes - ROUTES == set(), "new routes: offer them, or close them in page/doors.py"
    assert ROUTES - routes == set(), "routes that are gone: take them off this list"


@pytest.mark.parametrize("door", CLOSED)
def test_every_closed_door_is_a_route(door: str) -> None:
    """A door that moved would stand open under its new name."""
    paths = {route.split(" ")[1] for route in chainlit()["routes"]}
    assert any(path == door or path.startswith(door + "/") for path in paths)


@pytest.mark.parametrize("path", ["/docs", "/docs/x", "/mcp", "/mcp/", "/project/element"])
def test_a_closed_door_is_closed(path: str) -> None:
    assert is_closed(path)


@pytest.mark.parametrize("path", ["/", "/docsx", "/project/thread", "/project/threads", "/user"])
def test_other_doors_are_open(path: str) -> None:
    assert not is_closed(path)


def test_what_asks_for_the_user_can_be_told() -> None:
    """page/mount.py overrides `get_current_user`: these routes then get our guest."""
    wanted = {"/user", "/project/threads", "/project/thread/{thread_id}", "/project/thread"}
    assert wanted <= set(chainlit()["guarded"])


def test_the_socket_handlers_are_the_ones_we_know() -> None:
    """page/socket.py replaces or drops them by name."""
    assert chainlit()["handlers"] == HANDLERS
    assert chainlit()["namespaces"] == ["/"]


def test_every_socket_handler_is_taken_over() -> None:
    """What is neither replaced nor dropped would take what a client sends as it comes."""
    source = (ROOT / "parley/surfaces/page/socket.py").read_text()
    words = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(HANDLERS) <= words


def test_the_emitter_speaks_as_we_know_it() -> None:
    """page/reader.py shows a turn with these."""
    assert chainlit()["emitter"] == EMITTER


def test_a_session_is_made_as_we_make_it() -> None:
    assert set(chainlit()["session"]) >= SESSION
    assert {"get", "get_by_id", "require", "restore"} <= set(chainlit()["session_methods"])
    expected = ["sid", "session_id", "emit_fn", "emit_call_fn", "environ", "user"]
    assert chainlit()["restore"] == expected


def test_the_mount_takes_an_app_and_a_file() -> None:
    """Its middleware stack must not be built yet: page/mount.py adds the gate to it."""
    assert chainlit()["mount"] == ["app", "target", "path"]
    assert chainlit()["stack_built"] is False


def test_python_socketio_has_what_the_guard_uses() -> None:
    assert chainlit()["get_environ"] == ["sid", "namespace"]
    assert chainlit()["is_connected"] == ["sid", "namespace"]
    assert "websocket" in chainlit()["transports"]
    assert chainlit()["max_frame"] <= 1_000_000


def test_the_configuration_is_of_this_version() -> None:
    """Chainlit refuses a configuration that is too old; keys that it renamed would be ignored."""
    version = subprocess.run(
        [sys.executable, "-c", "import importlib.metadata as m; print(m.version('chainlit'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert f'generated_by = "{version}"' in (ROOT / ".chainlit/config.toml").read_text()


def test_hooks_keep_no_state() -> None:
    """`mount_chainlit` runs hooks.py a second time, under a name of its own."""
    tree = ast.parse((ROOT / "parley/surfaces/page/hooks.py").read_text())
    allowed = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.Expr
    assert all(isinstance(node, allowed) for node in tree.body)


def test_our_handlers_take_whatever_comes() -> None:
    """A client chooses how many arguments it sends; too many must not be a `TypeError`."""
    source = ast.parse((ROOT / "parley/surfaces/page/socket.py").read_text())
    (handlers,) = (
        node for node in source.body if isinstance(node, ast.ClassDef) and node.name == "_Handlers"
    )
    public = [
        node
        for node in handlers.body
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    assert {node.name for node in public} >= {"connect", "client_message", "stop"}
    assert [node.name for node in public if node.args.vararg is None] == []
