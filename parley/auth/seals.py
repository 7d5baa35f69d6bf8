"""Seals: what is kept encrypted, with keys of our secret; what the secret before it sealed is read."""

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from parley.auth.keys import Secret


class Seals:
    """Encrypts and decrypts short texts, for one use."""

    def __init__(self, secret: Secret, use: str) -> None:
        """Derive the keys of this use."""
        keys = reversed(secret.derive(use))  # the first one seals
        self._fernet = MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])

    def seal(self, text: str) -> str:
        """Encrypt a text."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str | None:
        """Decrypt a text; None where it was sealed with another secret, or is damaged."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            return None
