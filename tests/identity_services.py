"""Real peers of identity: a certified OpenID Connect provider, and nginx as a proxy that signs in."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx2

from tests.npm import npm_packages
from tests.services import find_free_port, stop, wait_until

OIDC = Path(__file__).with_name("oidc")
CLIENT_ID, CLIENT_SECRET = "parley", "a-secret-of-the-tests-0123456789"


@dataclass(frozen=True)
class OidcProvider:
    """A provider at which anybody may sign in, under any name."""

    issuer: str

    def settings(self) -> dict[str, str]:
        """The settings by which Parley lets people sign in here."""
        return {
            "OAUTH_GENERIC_CLIENT_ID": CLIENT_ID,
            "OAUTH_GENERIC_CLIENT_SECRET": CLIENT_SECRET,
            "OAUTH_GENERIC_ISSUER": self.issuer,
        }


@contextmanager
def oidc_provider(redirect_uris: Sequence[str], port: int | None = None) -> Iterator[OidcProvider]:
    """Run the provider of tests/oidc, whose packages are installed when they are missing."""
    npm_packages(OIDC)
    port = port or find_free_port()
    with tempfile.TemporaryDirectory(prefix="parley-op-") as home:
        log = Path(home) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["node", "provider.mjs", str(port), *redirect_uris],
                cwd=OIDC,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(lambda: b"ready" in log.read_bytes(), process, log)
            yield OidcProvider(f"http://127.0.0.1:{port}")
        finally:
            stop(process)


async def sign_in_at(client: httpx2.AsyncClient, url: str, name: str, *, deny: bool = False) -> str:
    """Follow a sign-in from the provider's address to where it sends the browser back."""
    for _ in range(12):
        if not url.startswith("http://127.0.0.1"):
            return url
        response = await client.get(url)
        if response.status_code == 200:
            action = re.search(r'action="([^"]+)"', response.text)
            assert action, response.text[:500]
            form = {"login": name, "password": "x"}
            form["prompt"] = "login" if 'name="login"' in response.text else "consent"
            if deny:
                abort = re.search(r'href="([^"]+/abort)"', response.text)
                assert abort
                response = await client.get(urljoin(url, abort[1]))
            else:
                response = await client.post(urljoin(url, action[1]), data=form)
        assert response.is_redirect, response.text[:500]
        url = urljoin(url, response.headers["location"])
    raise AssertionError("the provider sends us round and round")


@contextmanager
def nginx(configuration: str, directory: Path) -> Iterator[None]:
    """Run nginx with this configuration of its `http` block, until the end of the block."""
    path, log = directory / "nginx.conf", directory / "nginx.log"
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log {log} info;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n{configuration}\n}}\n"
    )
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program
    with log.open("wb") as output:
        command = [program, "-e", str(log), "-c", str(path)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_until((directory / "nginx.pid").exists, process, log)
        yield
    finally:
        stop(process)
