"""Cookies: rendered once, so that none is weaker than it has to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie


@dataclass(frozen=True, slots=True)
class Cookies:
    """How cookies are sent: `secure` over HTTPS only, `framed` also in another site's frame.

    A framed page has to be secure, as a Hugging Face Space is.
    """

    secure: bool
    framed: bool = False

    def render(self, name: str, value: str, max_age_s: int) -> str:
        """Render a ``Set-Cookie`` header."""
        jar = SimpleCookie()
        jar[name] = value
        morsel = jar[name]
        framed = self.framed and self.secure
        morsel["path"] = "/"
        morsel["httponly"] = True
        # A frame gets no Lax cookie. What other sites must not do with one that they do send is
        # the business of surfaces/origins.py.
        morsel["samesite"] = "none" if framed else "lax"
        morsel["max-age"] = str(max_age_s)
        if self.secure:
            morsel["secure"] = True
        # Without a partition of its own it would be a third-party cookie, which browsers block;
        # SimpleCookie knows the word from Python 3.14 on.
        return morsel.OutputString() + ("; Partitioned" if framed else "")

    def host_only(self, name: str) -> str:
        """Name a cookie so that no other host of the domain can set it, where that is possible."""
        return f"__Host-{name}" if self.secure else name

    def read(self, cookies: Mapping[str, str], name: str) -> str:
        """Read a cookie that `host_only` named; empty where it is not there."""
        return cookies.get(self.host_only(name), "")
