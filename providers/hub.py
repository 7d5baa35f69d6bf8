"""The Hub: what a file there would be, asked before anything is fetched; and how it refuses."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from parley.chat.errors import (
    CredentialsRefused,
    ModelMissing,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    Unreachable,
)
from providers.complaints import one_line
from providers.references import Reference, is_model, read_reference
from providers.secret_parts import without_userinfo
from providers.weights import cache_directory, storage

# With telemetry it asks the Hub ahead of everything which agents' names it may tell it.
constants.HF_HUB_DISABLE_TELEMETRY = True

ASK_S = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Good and small enough for a machine without a graphics card, in this order.
_PREFERRED = ("q4_k_m", "q8_0", "q4_0")
_SHOWN_FILES = 12


@dataclass(frozen=True, slots=True)
class Hub:
    """Which Hub is asked, as whom, and where files go; None is huggingface_hub's own setting."""

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    cache: Path | None = None

    @property
    def address(self) -> str:
        """Where the Hub is, as it may be shown."""
        return without_userinfo(self.endpoint or constants.ENDPOINT)

    @property
    def directory(self) -> Path:
        """The cache."""
        return self.cache or cache_directory()


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pull would fetch: shown before anybody is asked."""

    hub: Hub
    reference: Reference
    commit: str
    size_bytes: int
    sha256: str
    licence: str | None

    @property
    def path(self) -> Path:
        """Where the file will be."""
        snapshot = self._storage / "snapshots" / self.commit
        return snapshot / (self.reference.file or "")

    @property
    def blob(self) -> Path:
        """The file itself, by its checksum."""
        return self._storage / "blobs" / self.sha256

    @property
    def part(self) -> Path:
        """What has come of it so far."""
        return self._storage / "blobs" / f"{self.sha256}.part"

    @property
    def done_bytes(self) -> int:
        """How much of it an earlier pull has left."""
        if self.blob.is_file():
            return self.size_bytes
        with suppress(FileNotFoundError):
            return self.part.stat().st_size
        return 0

    @property
    def _storage(self) -> Path:
        return storage(self.reference.repo, self.hub.directory)


async def look_up(model: str, hub: Hub | None = None) -> Offer:
    """Ask the Hub what ``org/repo`` or ``org/repo:file.gguf`` would be; fetches nothing.

    Raises `ModelMissing`, `CredentialsRefused` where it wants a licence accepted or another token,
    `Unreachable` within seconds without a network.
    """
    reference = read_reference(model)
    if reference is None:
        raise hub_error(
            ModelMissing, f"has models by org/repo or org/repo:file.gguf, not {one_line(model)!r}."
        )
    return await asyncio.to_thread(_look_up, reference, hub or Hub())


def _look_up(reference: Reference, hub: Hub) -> Offer:
    # False, and not None: the machine's saved token goes nowhere that nobody meant.
    token = hub.token or False
    with _translated(hub, reference):
        info = HfApi(endpoint=hub.endpoint, token=token).model_info(reference.repo, timeout=ASK_S)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        chosen = Reference(reference.repo, reference.file or _best(reference, names))
        url = hf_hub_url(chosen.repo, chosen.file or "", revision=info.sha, endpoint=hub.endpoint)
        found = get_hf_file_metadata(url, token=token, timeout=ASK_S, endpoint=hub.endpoint)
    if not found.size or not found.etag or not _SHA256.fullmatch(found.etag) or not info.sha:
        raise hub_error(ProtocolViolation, f"does not give size and checksum of {chosen}.")
    licence = info.card_data.license if info.card_data else None
    shown = one_line(str(licence)) if licence else None
    return Offer(hub, chosen, info.sha, found.size, found.etag, shown)


def _best(reference: Reference, names: Sequence[str]) -> str:
    """Choose the file that suits most machines; raises `ModelMissing` with what there is."""
    files = [name for name in names if is_model(name)]
    if len(files) == 1:
        return files[0]
    for kind in _PREFERRED:
        matching = [name for name in files if kind in name.lower()]
        if len(matching) == 1:
            return matching[0]
    if not files:
        raise hub_error(ModelMissing, f"has no GGUF file in {reference}. Look for another one.")
    shown = one_line(", ".join(files[:_SHOWN_FILES]))
    raise hub_error(
        ModelMissing,
        f"has several files in {reference}; name one as org/repo:file. It has: {shown}.",
    )


@contextmanager
def _translated(hub: Hub, reference: Reference) -> Iterator[None]:
    """Turn what huggingface_hub raises into our errors."""
    try:
        yield
    except OfflineModeIsEnabled as exc:
        raise hub_error(Unreachable, "may not be asked: HF_HUB_OFFLINE is set. Unset it.") from exc
    except GatedRepoError as exc:
        raise refused(hub, reference, exc.response.status_code) from exc
    except (RepositoryNotFoundError, EntryNotFoundError) as exc:
        raise refused(hub, reference, 404) from exc
    except HfHubHTTPError as exc:
        raise refused(hub, reference, exc.response.status_code) from exc
    except (FileMetadataError, ValueError) as exc:
        said = "what answered is not the Hub. Check HF_ENDPOINT and the proxy"
        raise hub_error(ProtocolViolation, f"cannot be understood: {said}.") from exc
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
        raise hub_error(
            Unreachable,
            f"cannot be reached at {hub.address}. Check the network, HF_ENDPOINT and the"
            " proxy; or copy a GGUF file here and name its path in LOCAL_MODEL.",
        ) from exc


def refused(hub: Hub, reference: Reference, status: int) -> ProviderError:
    """Make the error of a status that is not success."""
    match status:
        case 401 | 403:
            what = (
                f"does not give out {reference} ({status}): accept its licence on"
                f" {hub.address}/{reference.repo}, and set HF_TOKEN to a token of that account."
            )
            return hub_error(CredentialsRefused, what, status)
        case 404:
            what = f"has no {reference}, or not for this token (404). Check the name and HF_TOKEN."
            return hub_error(ModelMissing, what, status)
        case _:
            return hub_error(ProviderFault, f"failed ({status}). Pull again later.", status)


def hub_error(
    kind: Callable[..., ProviderError], what: str, status: int | None = None
) -> ProviderError:
    """Make an error whose message begins with the Hub's name."""
    return kind(f"The Hub {what}", provider="huggingface", upstream_status=status)


def megabytes(size_bytes: int) -> str:
    """Write a size as people read it."""
    return f"{size_bytes / 1e6:,.1f} MB"
