"""The files for people who cite, report and contribute say what is true and are well-formed."""

import re
from pathlib import Path

import pytest
import yaml

from app import __version__
from docs.hooks import FOLDERS, PAGES

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_has_what_the_format_requires_and_the_version_of_the_code():
    """Citation File Format 1.2.0: required keys, and the shape of authors."""
    citation = read(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert citation["license"] == "MIT"
    for author in [*citation["authors"], *citation["preferred-citation"]["authors"]]:
        assert set(author) in ({"name"}, {"family-names", "given-names"})
    assert {"type", "title", "authors"} <= set(citation["preferred-citation"])
    assert isinstance(citation["preferred-citation"]["year"], int)


def test_the_release_notes_are_those_of_this_version():
    assert (ROOT / "docs/RELEASE.md").read_text().startswith(f"# antlr-snn {__version__}\n")
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", [p for p in TEMPLATES if p.stem != "config"], ids=lambda path: path.stem)
def test_issue_forms_are_well_formed(path):
    form = read(path)
    assert set(form) == {"name", "description", "labels", "body"}
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids))
    for part in form["body"]:
        assert part["type"] in ("textarea", "input")
        assert part["attributes"]["label"]
        assert set(part) <= {"type", "id", "attributes", "validations"}


def test_hooks_before_a_commit_fetch_nothing_and_run_what_developers_have():
    required = re.findall(r"^([\w-]+)==", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    for repository in read(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert re.match(r"python -m (\w+)", hook["entry"])[1] in required


def test_what_the_site_takes_from_outside_docs_is_there():
    assert [path for path in (*PAGES, *FOLDERS) if not (ROOT / path).exists()] == []
