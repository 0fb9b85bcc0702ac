"""Fixtures that several test files of saved models share."""

import pytest


@pytest.fixture
def folder(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "exported")
    return tmp_path / "exported"
