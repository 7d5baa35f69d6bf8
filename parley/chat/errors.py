"""Errors: one tree, drawn here.

    ParleyError
    ├── InvalidRequest        422 invalid_request
    ├── Unauthenticated       401 unauthenticated
    ├── Forbidden             403 forbidden
    ├── NotFound              404 not_found
    ├── Conflict              409 conflict
    ├── Restarted             409 restarted
    ├── TooLarge              413 too_large
    ├── RateLimited           429 rate_limited
    ├── UnknownModel          404 unknown_model
    ├── ContextTooLong        400 context_too_long
    ├── ContextChanged        422 context_changed
    ├── ContextForeign        403 context_foreign
    ├── ContextExpired        422 context_expired
    ├── ContextKeyUnknown     422 context_key_unknown
    ├── ContextTooLarge       413 context_too_large
    ├── StorageUnavailable    503 storage_unavailable
    │   └── StorageBusy       503 storage_unavailable
    ├── ShuttingDown          503 shutting_down
    │   └── HandedOver        503 shutting_down
    ├── InternalError         500 internal
    ├── StaleFence            500 internal              (never leaves the engine)
    └── ProviderError         502 provider_unavailable
        ├── Unreachable       502 provider_unavailable  retryable
        ├── Overloaded        502 provider_unavailable  retryable
        ├── ProviderFault     502 provider_unavailable  retryable
        ├── BrokenStream      502 provider_unavailable  retryable
        ├── TimedOut          504 provider_timeout      retryable
        ├── ProtocolViolation 502 provider_rejected
        ├── CredentialsRefused 502 provider_rejected
        ├── RequestRefused    502 provider_rejected
        ├── ModelMissing      502 provider_rejected
        ├── ContextOverflow   400 context_too_long
        └── ContentFiltered   400 content_filtered

`message` is for the caller: what happened and what to do, never a secret, a stack trace or
another user's data. Codes and statuses are promises to clients (docs/reference.md).
"""

from typing import ClassVar


class ParleyError(Exception):
    """Base of every error that Parley shows to a caller."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """Keep the caller's message and, where one is known, when to try again."""
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class InvalidRequest(ParleyError):
    """The request cannot be understood as it is."""

    code, status = "invalid_request", 422


class Unauthenticated(ParleyError):
    """Nobody is known to be calling."""

    code, status = "unauthenticated", 401


class Forbidden(ParleyError):
    """The caller is known and may not."""

    code, status = "forbidden", 403


class NotFound(ParleyError):
    """The thing does not exist, or is someone else's: the two look the same."""

    code, status = "not_found", 404


class Conflict(ParleyError):
    """The same key was used before with another body."""

    code, status = "conflict", 409


class Restarted(ParleyError):
    """The answer began again and this wire cannot take text back."""

    code, status = "restarted", 409


class TooLarge(ParleyError):
    """A message, a body or an answer is over its limit."""

    code, status = "too_large", 413


class RateLimited(ParleyError):
    """The caller has used up a limit of Parley's own."""

    code, status = "rate_limited", 429


class UnknownModel(ParleyError):
    """No configured model has that id."""

    code, status = "unknown_model", 404


class ContextTooLong(ParleyError):
    """The present turn alone exceeds the model's context window."""

    code, status = "context_too_long", 400


class ContextChanged(ParleyError):
    """A sealed context is not what it was when it was sealed."""

    code, status = "context_changed", 422


class ContextForeign(ParleyError):
    """A sealed context was sealed for another caller."""

    code, status = "context_foreign", 403


class ContextExpired(ParleyError):
    """A sealed context is too old."""

    code, status = "context_expired", 422


class ContextKeyUnknown(ParleyError):
    """A sealed context was sealed with a key that is not known, or not any more."""

    code, status = "context_key_unknown", 422


class ContextTooLarge(ParleyError):
    """A sealed context has more bytes than any that is sealed here."""

    code, status = "context_too_large", 413


class StorageUnavailable(ParleyError):
    """The database cannot be reached or refuses the write."""

    code, status = "storage_unavailable", 503


class StorageBusy(StorageUnavailable):
    """Something that the write needs is held by someone else for too long; the database is there."""


class ShuttingDown(ParleyError):
    """The process is on its way out and begins nothing new."""

    code, status = "shutting_down", 503


class HandedOver(ShuttingDown):
    """The process is on its way out; the turn goes on elsewhere and can be followed there."""


def interrupted() -> ShuttingDown:
    """Make the error of a turn that was ended by the end of its process."""
    return ShuttingDown(
        "The server stopped while this was being written."
        " What there is of it is kept; send the message again for a new answer."
    )


class InternalError(ParleyError):
    """Something failed that should not: the log has the story under the request id."""

    code, status = "internal", 500


class StaleFence(ParleyError):
    """Another replica owns the turn now: write nothing more."""


class ProviderError(ParleyError):
    """A provider failed.

    `provider` names it, `upstream_status` is what it answered if it did, `streamed` says whether
    something had already reached the caller and `text_so_far` is the text of it, `retryable` whether
    another attempt may succeed. `for_log` is the message, without what the provider said where it
    may have repeated the user's text. `for_operator`, where it is not empty, is the message with
    what only those are told who run this server: where the provider is.
    """

    code, status = "provider_unavailable", 502
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        upstream_status: int | None = None,
        retry_after_s: float | None = None,
        streamed: bool = False,
        for_log: str = "",
    ) -> None:
        """Describe the failure; see the class for the fields."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.for_log = for_log or message
        self.for_operator = ""
        self.provider = provider
        self.upstream_status = upstream_status
        self.streamed = streamed
        self.text_so_far = ""


class Unreachable(ProviderError):
    """No connection: refused, DNS, TLS."""

    retryable = True


class Overloaded(ProviderError):
    """The provider has no capacity now, or limits our rate."""

    retryable = True


class ProviderFault(ProviderError):
    """The provider failed inside: a 5xx or an error event."""

    retryable = True


class BrokenStream(ProviderError):
    """The stream ended without saying that it was complete."""

    retryable = True


class TimedOut(ProviderError):
    """A deadline passed; `phase` is connect, first_event, idle or total."""

    code, status = "provider_timeout", 504
    retryable = True

    def __init__(self, message: str, *, phase: str, provider: str = "") -> None:
        """Name the deadline that passed."""
        super().__init__(message, provider=provider)
        self.phase = phase


class ProtocolViolation(ProviderError):
    """The provider answered something that is not its protocol: HTML, bad JSON, bad UTF-8."""

    code, status = "provider_rejected", 502


class CredentialsRefused(ProviderError):
    """The provider does not accept our key."""

    code, status = "provider_rejected", 502


class RequestRefused(ProviderError):
    """The provider does not accept the request."""

    code, status = "provider_rejected", 502


class ModelMissing(ProviderError):
    """The provider does not have the model."""

    code, status = "provider_rejected", 502


class ContextOverflow(ProviderError):
    """The provider says that the request exceeds the model's context window."""

    code, status = "context_too_long", 400


class ContentFiltered(ProviderError):
    """The provider's filter refused the request."""

    code, status = "content_filtered", 400
