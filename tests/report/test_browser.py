"""The comparison page in a real browser: ``pip install playwright`` and Debian's chromium, or the path in CHROMIUM."""

import csv
import os
import random
import shutil
from xml.etree import ElementTree

import pytest

from app.report.groups import group
from app.report.page import page as page_html
from app.report.results import result_of
from tests.support.made_runs import made

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
    runs += [made("antlr", 3, state="unfinished"), made(task="spike_trains")]
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
        page.on(
            "request", lambda r: errors.append(r.url) if r.url != address and not r.url.startswith("blob:") else None
        )
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
        """[...document.querySelectorAll('svg text, td, th, p, label, select')].filter(e => e.checkVisibility())
        .map(e => {
            const matrix = e.ownerSVGElement ? e.getScreenCTM() : { a: 1, b: 0 };
            return parseFloat(getComputedStyle(e).fontSize) * Math.hypot(matrix.a, matrix.b);
        })"""
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
    page.get_by_role("button", name="all that").click()
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
    assert "82.00 ± 2.00 % [77.03, 86.97] (n = 3)" in shown
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    page.locator("#pareto .hot").first.hover()
    assert "41.00 ± 1.00 [38.52, 43.48] (n = 3)" in page.locator("#tip").inner_text()


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


def test_axes_have_titles_whole_epochs_and_say_log(open_page, tmp_path):
    page = open_page()
    titles = page.locator("#curves text.title").all_text_contents()
    assert titles == ["epochs trained", "accuracy by own readout, validation"]
    labels = page.locator("#curves .plot > svg > text:not(.title)").all_text_contents()
    assert [text for text in labels if "%" not in text] == ["1", "2", "3"]
    page.evaluate("data.runs.forEach((run, k) => { run.test.decision_spikes = 10 ** k; })")
    page.select_option("#pareto-x", "spikes_per_sample")
    assert "log" not in page.locator("#pareto text.title").first.text_content()
    page.select_option("#pareto-x", "decision_spikes")
    assert page.locator("#pareto text.title").first.text_content() == "decision spikes per sample, test, log scale"


def test_nothing_deviates_below_zero_or_beyond_everything(open_page):
    page = open_page()
    assert page.evaluate("[spanOf([0.1, 0.2, 3], 'loss'), spanOf([0.95, 0.1, 3], 'accuracy')]") == [
        [0, pytest.approx(0.3)],
        [pytest.approx(0.85), 1],
    ]
    before = page.locator("#pareto .plot").inner_html()
    page.get_by_text("95 % interval", exact=True).click()
    assert page.locator("#pareto .plot").inner_html() != before
    assert page.evaluate("spanOf([5, 1, 3], 'loss')") == pytest.approx([5 - 2.48414, 5 + 2.48414], abs=1e-4)


def boxes(page, selector):
    """Left, top, right and bottom of each of these in the chart of accuracy for spikes."""
    return page.locator(f"#pareto {selector}").evaluate_all(
        "ns => ns.map(n => { const b = n.getBBox(); return [b.x, b.y, b.x + b.width, b.y + b.height]; })"
    )


@pytest.mark.parametrize(("settings", "fewest"), [(3, 3), (12, 12), (60, 6)])
def test_names_of_points_cover_no_other_name_and_no_mark(browser, settings, fewest, tmp_path):
    draw, runs = random.Random(settings), []
    for k in range(settings):
        place = draw.uniform(0.9, 0.95), draw.uniform(40, 100)
        for seed in range(3):
            run = made(("activation", "timing", "antlr")[k % 3], seed, optim={"lr": (k // 3 + 1) / 1000})
            accuracy, spikes = place[0] + draw.gauss(0, 0.004), place[1] + draw.gauss(0, 3)
            run.summary |= {"test/accuracy_first": accuracy, "test/decision_spikes": spikes}
            runs.append(run)
    path = tmp_path / "points.html"
    path.write_text(page_html(group(result_of(run) for run in runs), "Points"), encoding="utf-8")
    page = browser.new_page(viewport=DESKTOP)
    page.goto(path.as_uri())
    page.get_by_role("button", name="all that the filter leaves").click()
    names, marks = boxes(page, "text.point"), boxes(page, ".hot > :last-child")
    page.close()
    assert len(marks) == settings
    assert len(names) >= fewest
    for k, (left, top, right, bottom) in enumerate(names):
        for other in names[:k] + marks:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_settings_of_one_rule_have_colours_of_their_own(open_page):
    page = open_page()
    colours = "[...document.querySelectorAll('#legend svg line')].map(line => line.getAttribute('stroke'))"
    assert page.evaluate(colours)[2:] == ["var(--antlr, var(--ink))"] * 2
    for rule in ("activation", "timing"):
        page.locator("#rules span", has_text=rule).click()
    assert page.evaluate(colours) == ["var(--setting0)", "var(--setting1)"]


def test_tables_are_sorted_and_filtered_and_hold_the_settings(open_page):
    page = open_page()
    table = page.locator("#settings table[data-task=digits]")
    headings = table.locator("thead th").all_inner_texts()
    column = next(k for k, text in enumerate(headings) if text.startswith("optim.lr"))
    rows = table.locator("tbody tr")
    assert sorted(row.locator("th, td").nth(column).inner_text() for row in rows.all()) == ["0.0001", *["0.001"] * 3]
    heading = table.locator("thead th", has_text="test accuracy").locator("button")
    for order in (1, -1):
        heading.click()
        means = [float(row.locator("td[data-title='test accuracy']").inner_text().split()[0]) for row in rows.all()]
        assert means == sorted(means, reverse=order < 0)
    page.locator("#search input").fill("lr=0.0001 ANTLR")
    assert table.locator("tbody tr:visible").count() == page.locator("#pareto .hot").count() == 1
    assert page.locator("#runs tbody tr:visible").count() == 1
    page.locator("#search input").fill("nothing like it")
    assert "No ticked setting" in page.locator("#curves .plot").inner_text()


@pytest.mark.parametrize("place", ["curves", "pareto", "timing", "layers"])
def test_charts_can_be_taken_away(open_page, place, tmp_path):
    page = open_page(color_scheme="dark")
    for kind in ("svg", "csv"):
        with page.expect_download() as taken:
            page.locator(f"#{place} button[data-export={kind}]").click()
        assert taken.value.suggested_filename == f"digits-{place}.{kind}"
        taken.value.save_as(tmp_path / kind)
    picture = ElementTree.parse(tmp_path / "svg").getroot()
    text = (tmp_path / "svg").read_text()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text
    assert "antlr, lr 0.0001" in text
    with (tmp_path / "csv").open() as file:
        heading, *rows = list(csv.reader(file))
    assert rows
    assert {len(row) for row in rows} == {len(heading)} == {len(set(heading))}
    assert any("antlr, lr 0.0001" in row for row in rows)


def test_five_hundred_runs_are_drawn_and_filtered_in_a_moment(browser, tmp_path):
    runs = [
        made(rule, seed, optim={"lr": lr / 1000, "grad_clip": float(clip)})
        for rule in ("activation", "antlr") for lr in range(1, 6) for clip in range(1, 11) for seed in range(5)
    ]  # fmt: skip
    path = tmp_path / "many.html"
    path.write_text(page_html(group(result_of(run) for run in runs), "Many"), encoding="utf-8")
    page = browser.new_page(viewport=DESKTOP)
    page.goto(path.as_uri())
    assert page.locator("#runs tbody tr").count() == 500
    assert page.locator("#legend span").count() == 8
    page.locator("#search input").fill("lr=0.003")
    page.get_by_role("button", name="all that the filter leaves").click()
    assert page.locator("#legend span").count() == 20
    took_ms = page.evaluate("(() => { const start = performance.now(); draw(); return performance.now() - start; })()")
    page.close()
    assert took_ms < 5000


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
