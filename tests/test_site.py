"""The documentation is built as a site without a warning, and the site asks nobody else for anything."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
LOADED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}
"""Elements that make a browser load something, and where they name it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; nothing is written into the repository."""
    folder = tmp_path_factory.mktemp("site")
    before = subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    mkdocs = shutil.which("mkdocs", path=Path(sys.executable).parent)  # as its user starts it: cwd is not on its path
    command = [mkdocs, "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    after = subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert after == before
    return folder


class Loads(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADED.get(tag, "")) or ""
        if address:
            self.found.append(address)


def test_no_page_loads_anything_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loads = Loads()
        loads.feed(path.read_text(encoding="utf-8"))
        assert loads.found
        assert not [one for one in loads.found if re.match(r"(\w+:)?//", one)], path
        assert 'class="mermaid"' not in path.read_text(encoding="utf-8"), "the theme would fetch its own mermaid"
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_every_page_is_in_the_navigation(site):
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)["nav"]
    listed = {page for part in nav for pages in part.values() for page in _leaves(pages)}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= listed
    for page in listed:
        assert (site / page).with_suffix(".html").is_file(), page


def _leaves(pages):
    return (
        [pages]
        if isinstance(pages, str)
        else [leaf for page in pages for one in page.values() for leaf in _leaves(one)]
    )


def test_the_tutorial_shows_what_its_commands_printed(site):
    text = re.sub(r"<[^>]+>", "", (site / "TUTORIAL.html").read_text(encoding="utf-8"))
    assert len(re.findall(r"accuracy by first spike +\d\d\.\d+%", text)) == 2
    assert re.search(r"\| antlr \| 1 \| \d\d\.\d+ %", text)
    assert "Prediction(label=0" in text
    assert "it/s" not in text
    source = (ROOT / "docs/TUTORIAL.md").read_text(encoding="utf-8")
    assert not re.search(r"accuracy by first spike +\d|Prediction\(", source), "output is generated, not pasted"


def test_figures_are_turned_to_light_on_dark_in_the_dark_scheme(site):
    style = (site / "site.css").read_text(encoding="utf-8")
    assert re.search(r'data-md-color-scheme="slate"\] \.md-typeset img \{[^}]*invert\(1\)', style)
    schemes = set(re.findall(r'data-md-color-scheme="(\w+)"', (site / "index.html").read_text(encoding="utf-8")))
    assert schemes == {"default", "slate"}


def test_the_figures_are_drawn_and_shown(site):
    page = (site / "LEARNING.html").read_text(encoding="utf-8")
    for name in re.findall(r'src="figures/(\w+)\.svg"', page):
        assert "<path" in (site / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    assert len(re.findall(r'src="figures/\w+\.svg"', page)) == len(list((site / "figures").glob("*.svg")))
