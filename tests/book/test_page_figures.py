"""Figures of the rendered book: each has an address, can be read unseen, used by keyboard, and saved as a table."""

import base64
import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.book.test_pages import PAGES, assert_changes, controls
from tests.conftest import each_page, figures
from tools.chapters import all_chapters


@each_page(all_chapters())
def test_figures_have_an_address_a_caption_and_a_name(page):
    seen = set()
    for plot in figures(page):
        figure = plot.locator("xpath=ancestor::*[@role='figure']")
        anchor, label = figure.get_attribute("id"), figure.get_attribute("aria-label")
        assert anchor.startswith("fig-") and anchor not in seen
        seen.add(anchor)
        caption = page.locator(f"#{figure.get_attribute('aria-describedby')}")
        said = caption.inner_text()
        assert said.startswith(f"{label}.") and len(said) > len(label) + 40
        assert "seed" in said.lower() or "error bars" in said, f"{anchor} does not say what its spread is"
        assert plot.locator("svg[role=img]").get_attribute("aria-label").startswith(f"{label}. ")
        caption.locator(".figure-link").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == f"#{anchor}" and figure.is_visible()
    without = "images => images.filter(image => !image.alt.trim()).map(image => image.outerHTML.slice(0, 80))"
    assert page.locator(".bd-article img").evaluate_all(without) == []
    assert page.trouble == []


def alternative(figure):
    return figure.locator("svg[role=img]").get_attribute("aria-label")


def test_a_figure_is_told_with_its_numbers_as_its_slider_stands(visit):
    figure = visit("book/addmul").locator("#fig-sharing-at-beta")
    told = []
    for key, beta in (("Home", "1.0e-05"), ("End", "1.0e-03")):
        figure.locator(".slider-group").press(key)
        name, share = figure.locator(".plotly-graph-div").evaluate("gd => [gd.data[0].name, gd._fullData[0].y[0]]")
        told.append(alternative(figure))
        assert f"beta = {beta}" in told[-1] and f"small network, {name}: input {float(f'{share:.3g}'):g};" in told[-1]
    assert told[0] != told[1]


def numbers(values):
    """A list as plotly has it, of which numbers may be written as bytes."""
    if not isinstance(values, dict):
        return values or []
    array = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return array.reshape([int(size) for size in str(values.get("shape", len(array))).split(",")]).tolist()


def points(trace):
    """What a trace draws: (x, y, z, deviation) of every point."""
    x, y, z = (numbers(trace.get(axis)) for axis in "xyz")
    if trace["type"] == "heatmap":
        columns, rows = x or range(len(z[0])), y or range(len(z))
        return [(columns[j], rows[i], z[i][j], None) for i in range(len(z)) for j in range(len(z[i]))]
    deviations = numbers(trace.get("error_y", {}).get("array")) or [None] * len(x)
    return [(a, b, None, c) for a, b, c in zip(x, y, deviations, strict=True) if (a, b) != (None, None)]


def same(cell, value):
    if value is None or value != value:
        return not cell
    if isinstance(value, str):  # a long name is broken at its dots
        return cell == value.replace("<br>.", ".").replace("<br>", " ")
    return float(cell) == pytest.approx(value)


@each_page(all_chapters())
def test_downloaded_data_is_what_is_drawn(page):
    for plot in figures(page):
        figure = plot.locator("xpath=ancestor::*[@role='figure']")
        anchor = figure.get_attribute("id")
        with page.expect_download() as download:
            page.locator(f".figure-data[data-figure={anchor}]").first.click()
        assert download.value.suggested_filename == f"{Path(page.url).stem}-{anchor.removeprefix('fig-')}.csv"
        rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf8").splitlines()))
        traces = figure.locator(".plotly-graph-div").evaluate("gd => gd.data")
        expected = [(trace, point) for trace in traces if trace.get("name") != "" for point in points(trace)]
        assert len(rows) == len(expected) > 0
        for row, (trace, point) in zip(rows, expected, strict=True):
            columns = ("x", "y", "z", "deviation")
            assert all(same(row.get(column), value) for column, value in zip(columns, point, strict=True)), (row, point)
            assert row["trace"] == trace["name"] if trace.get("name") else not row.get("trace")
            hidden = trace.get("visible", True) is not True or trace.get("opacity", 1) == 0
            assert row["visible"] == ("no" if hidden else "yes")
    assert page.trouble == []


@each_page(all_chapters())
def test_controls_work_by_keyboard(page):
    for figure in controls(page):
        for slider in figure.locator(".slider-group[role=slider]").all():
            now, last = (int(slider.get_attribute(f"aria-value{which}")) for which in ("now", "max"))
            key, there = ("ArrowLeft", now - 1) if now == last else ("ArrowRight", now + 1)
            slider.focus()
            assert_changes(page, figure, partial(page.keyboard.press, key), f"the slider with {key}")
            assert slider.get_attribute("aria-valuenow") == str(there) and slider.get_attribute("aria-label")
            for key, end in (("Home", 0), ("End", last)):
                page.keyboard.press(key)
                assert slider.get_attribute("aria-valuenow") == str(end)
        for menu in figure.locator(".updatemenu-header[role=combobox]").all():
            menu.focus()
            assert_changes(page, figure, partial(page.keyboard.press, "ArrowDown"), "the menu with ArrowDown")
        for button in figure.locator(".updatemenu-button[aria-pressed=false]").all()[:1]:
            button.focus()
            assert_changes(page, figure, partial(page.keyboard.press, "Enter"), "a button with Enter")
    assert page.trouble == []


def test_the_keyboard_moves_linked_sliders_together(visit):
    page = visit("book/alpha")
    linked = "gds => gds.filter(gd => gd.layout.meta?.linked).map(gd => gd.layout.sliders[0].active)"
    page.locator("#fig-price .slider-group").focus()
    page.keyboard.press("Home")
    assert page.locator(".plotly-graph-div:visible").evaluate_all(linked) == [0] * 4


def test_keyboard_focus_is_visible_wherever_it_goes(visit):
    page = visit("book/alpha")
    look = """() => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        const kind = document.activeElement.closest('[role=slider], [role=combobox], .figure-data, summary');
        return [document.activeElement.outerHTML.slice(0, 90), outlineStyle, parseFloat(outlineWidth),
                kind?.getAttribute('role') ?? kind?.getAttribute('class') ?? kind?.tagName ?? ''] }"""
    kinds = set()
    for _ in range(300):
        page.keyboard.press("Tab")
        element, style, width, kind = page.evaluate(look)
        if element.startswith("<body"):
            break
        assert style != "none" and width >= 1, f"no sign of the keyboard on {element}"
        kinds.add(kind)
    assert {"slider", "combobox", "figure-data", "SUMMARY"} <= kinds


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_light(built_book, name):
    """Scripts are shared by all pages; a page's own part is what every reader of it waits for."""
    assert (built_book / f"{name}.html").stat().st_size < 2_000_000
