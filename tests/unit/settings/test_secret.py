"""The kept secret: made once, for its owner alone."""

import os
from pathlib import Path

import pytest

from parley.settings.build import load_config
from parley.settings.problems import ConfigurationError
from parley.settings.secret import SECRET_CHARS, kept_secret


def test_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    made = kept_secret(path)
    assert len(made) >= SECRET_CHARS
    assert kept_secret(path) == made


def test_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept_secret(tmp_path / "secret")
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_two_are_different(tmp_path: Path) -> None:
    assert kept_secret(tmp_path / "one") != kept_secret(tmp_path / "other")


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: str) -> None:
    """Half a write, or an empty mount: with an empty key anyone could sign."""
    (tmp_path / "secret").write_text(content)
    with pytest.raises(ValueError, match="characters"):
        kept_secret(tmp_path / "secret")


def test_where_none_can_be_kept_the_mend_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARLEY_SECRET", raising=False)
    (tmp_path / ".parley").write_text("a file, and no directory")
    with pytest.raises(ConfigurationError, match="PARLEY_SECRET"):
        load_config()


def test_its_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    kept_secret(tmp_path / ".parley" / "secret")
    assert (tmp_path / ".parley").stat().st_mode & 0o777 == 0o700
