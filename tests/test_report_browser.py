"""The comparison page in a real browser: ``pip install playwright`` and Debian's chromium, or the path in CHROMIUM."""

import os
import shutil

import pytest
from test_report import made

from app.report.groups import group
from app.report.page import page as page_html
from app.report.results import result_of

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    last = {"activation": 0.7, "timing": 0.75, "antlr": 0.8}
    runs = [made(rule, seed, (0.5, value + seed / 50)) for rule, value in last.items() for seed in range(3)]
    runs += [made("antlr", 3, exit_code=None), made(task="spike_trains")]
    runs += [made("antlr", 0, (0.5, 0.6), optim={"lr": 1e-4})]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_html(group(result_of(run) for run in runs), "Comparison"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page; fails on any error in it, and on any request but for the page itself."""
    opened, errors = [], []

    def opening(viewport=DESKTOP, **options):
        context = browser.new_context(viewport=viewport, **options)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: errors.append(request.url) if request.url != address else None)
        page.goto(address)
        opened.append(context)
        return page

    yield opening
    for context in opened:
        context.close()
    assert errors == []


def test_all_charts_are_drawn(open_page):
    page = open_page()
    for place in ("curves", "pareto", "timing", "layers"):
        assert page.locator(f"#{place} .plot > svg").bounding_box()["height"] > 100, place
    assert page.locator("#pareto .hot").count() == 4
    assert page.locator("#legend span").all_inner_texts() == [
        "activation",
        "timing",
        "antlr, lr 0.001",
        "antlr, lr 0.0001",
    ]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, {"width": 768, "height": 1024}], ids=lambda v: f"{v['width']} px")
def test_the_page_is_as_wide_as_the_screen_and_letters_are_large_enough(open_page, viewport):
    page = open_page(viewport)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text, td, th, p, label, select')].filter(e => e.checkVisibility())"
        ".map(e => parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement ? e.getScreenCTM().a : 1))"
    )
    assert min(sizes) >= 11.9


def test_filters_by_task_and_rule(open_page):
    page = open_page()
    page.get_by_text("timing", exact=True).first.click()
    assert page.locator("#pareto .hot").count() == 3
    assert not page.locator("#settings tr[data-rule=timing]").is_visible()
    page.get_by_text("spike_trains", exact=True).first.click()
    assert page.locator("#pareto .hot").count() == 1
    assert page.locator("#curve-metric").input_value() == "val/loss"
    assert page.locator("#runs tbody tr:visible").count() == 1


def test_settings_can_be_ticked_and_other_numbers_shown(open_page):
    page = open_page()
    page.get_by_role("button", name="best of each rule").click()
    assert page.locator("#pareto .hot").count() == 3
    page.get_by_role("button", name="all").click()
    before = page.locator("#pareto .plot").inner_html()
    page.get_by_text("validation", exact=True).first.click()
    assert page.locator("#pareto .plot").inner_html() != before
    before = page.locator("#curves .plot").inner_html()
    page.select_option("#curve-metric", "train/loss")
    assert page.locator("#curves .plot").inner_html() != before


def test_a_close_up_shows_the_second_half_of_the_curves(open_page):
    page = open_page()
    ticks = page.locator("#curves text", has_text="%")
    assert min(float(text.split()[0]) for text in ticks.all_text_contents()) == 50
    page.get_by_text("close-up").click()
    assert min(float(text.split()[0]) for text in ticks.all_text_contents()) == 60


def test_pointing_shows_values(open_page):
    page = open_page()
    box = page.locator("#curves .plot > svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 100)
    shown = page.locator("#tip").inner_text()
    assert "epoch 2" in shown
    assert "82.00 ± 2.00 % (n = 3)" in shown
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    page.locator("#pareto .hot").first.hover()
    assert "41.00 ± 1.00 (n = 3)" in page.locator("#tip").inner_text()


def test_everything_is_within_reach_of_the_keyboard(open_page):
    page = open_page()
    page.locator("#curves .plot > svg").focus()
    page.keyboard.press("Home")
    assert "epoch 1" in page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert "epoch 2" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("#layers .hot").first.focus()
    assert "until the decision" in page.locator("#tip").inner_text()
    page.locator("input[name=rule][value=timing]").focus()
    page.keyboard.press("Space")
    assert page.locator("#pareto .hot").count() == 3


def test_selected_runs_are_compared(open_page):
    page = open_page()
    page.locator("#runs tbody tr[data-rule=antlr] input").first.check()
    assert page.locator("#diff").inner_text() == ""
    page.locator("#runs tbody tr[data-rule=activation] input").first.check()
    rows = page.locator("#diff tbody tr").all_inner_texts()
    assert any(row.split() == ["rule", "activation", "antlr"] for row in rows)
    assert not any(row.startswith("loss") for row in rows)


CONTRAST = """
(nodes) => {
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((c) => linear(Number(c) / 255));
  const light = (text) => channels(text).reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = (node) => getComputedStyle(node).backgroundColor;
  const behind = (node) => (ground(node) === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : ground(node));
  return nodes.filter((node) => node.checkVisibility()).map((node) => {
    const style = getComputedStyle(node);
    const [a, b] = [light(node.ownerSVGElement ? style.fill : style.color), light(behind(node))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out_in_light_and_dark(open_page, scheme):
    page = open_page(color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 3 * 128) == (scheme == "light")
    texts = page.locator("p, td, th, h1, h2, legend, select, button, .pill span, svg text, .state")
    assert min(texts.evaluate_all(CONTRAST)) >= 4.5
    marks = page.locator("#pareto .hot circle:not(.halo), #pareto .hot polygon, #pareto .hot path")
    assert min(marks.evaluate_all(CONTRAST)) >= 3


def test_without_javascript_the_tables_hold_all_numbers(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("#settings table:visible").count() == 2
    assert page.locator("#settings tbody tr:visible").count() == 5
    assert page.locator("noscript").is_visible()
