"""Settings come from HANDFUL_... alone, and a wrong one is one sentence."""

from __future__ import annotations

import pytest
from handful.service.artifact.errors import UsageError
from handful.service.settings import Settings, variable


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable(field), raising=False)


def test_variables_are_read_and_an_empty_one_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_MAX_IMAGES", "3")
    monkeypatch.setenv("HANDFUL_WORKERS", "")
    monkeypatch.setenv("HANDFUL_CORS_ORIGINS", "https://a.example, https://b.example ,")
    settings = Settings.from_environ()
    assert (settings.max_images, settings.workers) == (3, 1)
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_other_variables_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("name", "NAME", "workers", "handful_workers", "HANDFUL_UNKNOWN"):
        monkeypatch.setenv(name, "7")
    assert Settings.from_environ() == Settings()
    assert (Settings().name, Settings().workers) == (None, 1)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HANDFUL_WORKERS", "none", "HANDFUL_WORKERS is 'none': .* valid integer"),
        ("HANDFUL_WORKERS", "999", "HANDFUL_WORKERS is '999': .* less than or equal to 256"),
        ("HANDFUL_MAX_MEGAPIXELS", "nan", "HANDFUL_MAX_MEGAPIXELS is 'nan': .* finite"),
        ("HANDFUL_MAX_IMAGES", "300", "HANDFUL_MAX_IMAGES is 300; at most HANDFUL_MAX_WAITING_IMAGES, 256, is allowed"),
        ("HANDFUL_MAX_HELD_MEGABYTES", "9", "at most HANDFUL_MAX_HELD_MEGABYTES, 9, is allowed"),
    ],
)
def test_a_wrong_setting_is_a_sentence_with_what_was_got_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=sentence) as e:
        Settings.from_environ()
    assert "\n" not in str(e.value)
