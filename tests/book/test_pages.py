"""The rendered book in a headless browser, read as plain files: all is drawn, all controls work, nothing is fetched."""

import re
from functools import partial
from pathlib import Path

import pytest

from modules_lib.analysis.theme import BLUE, GREEN
from reproduction.claims import CLAIMS
from tests.conftest import DESKTOP, each_page, figures
from tools.chapters import all_pages

PAGES = ["index", "search", "genindex", *all_pages()]
PHONE = 390
# what a reader sees of a figure, without the control that was used
DRAWN = """gd => [gd.querySelector('.plot-container .main-svg').innerHTML,
    ...[...gd.querySelectorAll('.infolayer :is(.gtitle, .xtitle)')].map(title => title.textContent)].join()"""


def controls(page):
    """Each figure that has controls, with what plotly knows of it."""
    for figure in figures(page):
        if figure.evaluate("gd => (gd.layout.sliders || []).length + (gd.layout.updatemenus || []).length"):
            figure.scroll_into_view_if_needed()
            yield figure


def assert_changes(page, figure, act, what):
    before = figure.evaluate(DRAWN)
    act()
    for _ in range(300):
        if figure.evaluate(DRAWN) != before:
            return
        page.wait_for_timeout(100)
    pytest.fail(f"{what} changes nothing in {figure.get_attribute('id')}")


@each_page(PAGES)
def test_page_is_clean(page):
    assert page.trouble == []
    formulas = page.locator(".math").count()
    if formulas:
        page.locator("mjx-container svg").first.wait_for(state="attached")
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
        assert page.locator("mjx-container").count() >= formulas
    assert page.evaluate("typeof define") == "undefined", "an AMD loader would keep plotly.js from its global name"


@each_page(PAGES)
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_page_fits_its_width(page, width):
    page.set_viewport_size({"width": width, "height": 1000})
    page.wait_for_timeout(300)
    assert_fits(page, width)


def test_a_page_that_is_opened_on_a_phone_fits(visit):
    assert_fits(visit("book/addmul", PHONE), PHONE)


def assert_fits(page, width):
    wide = page.evaluate(
        """() => [...document.querySelectorAll('.bd-article *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && e.scrollWidth > e.clientWidth)
            .map(e => e.outerHTML.slice(0, 80)).slice(0, 3)"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"wider than the page: {wide}"
    for figure in figures(page):
        box = figure.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width + 1


@each_page(PAGES)
def test_sliders_change_their_figure(page):
    for figure in controls(page):
        at_end = figure.evaluate("gd => gd._fullLayout.sliders.map(s => s.active == s.steps.length - 1)")
        rails = figure.locator(".slider-rail-touch-rect").all()
        for slider, ended in zip(rails, at_end, strict=True):
            slider.scroll_into_view_if_needed()
            rail = slider.bounding_box()
            for end in (0.02, 0.98) if ended else (0.98, 0.02):  # away from where it is, and back
                at = rail["x"] + end * rail["width"], rail["y"] + rail["height"] / 2
                assert_changes(page, figure, partial(page.mouse.click, *at), f"the slider at {end:.0%}")
    assert page.trouble == []


def test_sliders_over_beta_move_together(visit):
    page = visit("book/alpha")
    linked = "gd => gd.layout.meta?.linked == 'beta'"
    first, *others = (plot for plot in page.locator(".plotly-graph-div:visible").all() if plot.evaluate(linked))
    assert len(others) == 3
    before = [figure.evaluate(DRAWN) for figure in others]
    first.locator(".slider-rail-touch-rect").scroll_into_view_if_needed()
    rail = first.locator(".slider-rail-touch-rect").bounding_box()
    page.mouse.click(rail["x"] + 0.98 * rail["width"], rail["y"] + rail["height"] / 2)
    page.wait_for_timeout(1000)
    last = first.evaluate("gd => gd._fullLayout.sliders[0].steps.length - 1")
    for figure, drawn in zip(others, before, strict=True):
        assert figure.evaluate("gd => gd._fullLayout.sliders[0].active") == last
        assert figure.evaluate(DRAWN) != drawn
    assert page.trouble == []


@each_page(PAGES)
def test_menus_change_their_figure(page):
    for figure in controls(page):
        for number, menu in enumerate(figure.evaluate("gd => gd._fullLayout.updatemenus || []")):
            options = [button["label"] for button in menu["buttons"] if button.get("visible", True)]
            first = menu.get("active", 0)
            # the active option last: choosing it again at once would rightly change nothing
            order = [i for i in range(len(options)) if i != first] + [first] * (first >= 0)
            for option in order:
                act = partial(choose, figure, number, menu, option)
                assert_changes(page, figure, act, f"the option {options[option]!r}")
    assert page.trouble == []


def choose(figure, number, menu, option):
    header = figure.locator(".updatemenu-header-group").nth(number)
    if menu["type"] == "dropdown":
        header.locator(".updatemenu-header").first.click()
        figure.locator(".updatemenu-dropdown-button").nth(option).click()
    else:
        header.locator(".updatemenu-button").nth(option).click()


@each_page(PAGES)
def test_figures_follow_the_theme(page):
    assert set(backgrounds(page)) <= {"white"}
    for theme, colour in (("dark", "rgba(0,0,0,0)"), ("light", "white")):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(500)
        assert set(backgrounds(page)) <= {colour}
    assert page.trouble == []


def test_a_page_that_is_opened_in_the_dark_has_dark_figures(visit):
    assert set(backgrounds(visit("book/addmul", theme="dark"))) == {"rgba(0,0,0,0)"}


def backgrounds(page):
    return page.locator(".plotly-graph-div").evaluate_all("gds => gds.map(gd => gd._fullLayout.paper_bgcolor)")


def test_views_change_all_figures_of_a_page_in_their_place(visit):
    page = visit("book/addmul")
    groups = page.locator(".views").all()
    assert len(groups) == 7
    for view, suffix in (("your run", "-run"), ("paper sizes", "-paper"), ("laptop sizes", "")):
        button = groups[3].get_by_role("button", name=view)
        button.scroll_into_view_if_needed()
        before = button.bounding_box()["y"]
        button.press("Enter")
        assert abs(button.bounding_box()["y"] - before) < 2  # what one looks at does not run away
        for group in groups:
            if not group.get_by_role(
                "button", name=view
            ).count():  # maps, of which no run at the paper's sizes has masks
                continue
            assert group.locator("[data-shows][aria-pressed=true]").inner_text() == view
            figure = group.locator(".book-figure:visible")
            assert figure.count() == 1
            anchor = figure.get_attribute("id")
            assert anchor.removesuffix("-run").removesuffix("-paper") + suffix == anchor
            assert page.locator(f"#{anchor}-caption").is_visible()
            width = figure.locator(".main-svg").first.bounding_box()["width"]
            assert abs(width - figure.bounding_box()["width"]) < 2
    captions = page.locator(".figure-caption:visible").count()
    assert captions == page.locator(".book-figure:visible").count()
    assert page.trouble == []


def test_a_link_to_a_figure_of_another_view_shows_it(visit):
    page = visit("book/addmul")
    assert not page.locator("#fig-kept-paper").is_visible()
    page.evaluate("location.hash = 'fig-kept-paper'")
    page.locator("#fig-kept-paper").wait_for(state="visible")
    top = "document.querySelector('#fig-kept-paper').getBoundingClientRect().y"
    page.wait_for_function(f"0 <= {top} && {top} < 400")


def test_the_steps_of_the_method_add_up(visit):
    """The last picture's sharing is that of the edges it draws."""
    page = visit("book/index")
    figure = page.locator("#fig-method .plotly-graph-div")
    for label, number in (("mask A", 3), ("mask B", 4), ("compare", 5)):
        assert_changes(page, figure, figure.locator(".updatemenu-button", has_text=label).click, label)
        caption = figure.evaluate("gd => gd.layout.title.text")
        assert caption.startswith(f"{number}. ")
    colours = figure.evaluate("gd => gd.data.filter(d => d.mode == 'lines' && d.x[0] != null).map(d => d.line.color)")
    only_a, both = colours.count(BLUE), colours.count(GREEN)
    assert f"A's {only_a + both} weights<br>B uses {both} ({both / (only_a + both):.0%})" in caption
    assert page.trouble == []


def shown_claims(page):
    rows = page.locator("table.claims tbody tr:visible")
    return rows.evaluate_all("rows => rows.map(row => +row.cells[0].innerText)")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_claims_are_sorted_by_their_heads(visit, width):
    page = visit("book/index", width)
    heads = page.locator("table.claims th[aria-sort]")
    assert heads.count() == 4 and shown_claims(page) == list(range(1, len(CLAIMS) + 1))
    heads.first.get_by_role("button").press("Enter")  # as with a keyboard
    assert shown_claims(page) == list(range(len(CLAIMS), 0, -1))
    assert heads.first.get_attribute("aria-sort") == "descending"
    verdict = heads.filter(has_text="laptop sizes")
    verdict.get_by_role("button").click()
    cells = page.locator("table.claims tbody tr td:nth-child(4)")
    order = cells.evaluate_all("cells => cells.map(cell => +cell.dataset.value)")
    assert order == sorted(order) and len(set(order)) > 1
    assert verdict.get_attribute("aria-sort") == "ascending" and heads.first.get_attribute("aria-sort") == "none"
    assert page.trouble == []


def test_claims_are_filtered_by_verdict_and_words(visit):
    page = visit("book/index")
    by_verdict = page.get_by_label("Show claims with this verdict")
    by_verdict.select_option("partly")
    rows = page.locator("table.claims tbody tr:visible")
    said = rows.evaluate_all("rows => rows.map(row => row.dataset.verdicts.split('|'))")
    assert 0 < len(said) < len(CLAIMS) and all("partly" in verdicts for verdicts in said)
    assert page.locator(".claims-filter output").inner_text() == f"{len(said)} of {len(CLAIMS)} claims"
    by_verdict.select_option("")
    page.get_by_label("Show claims with these words").fill("scan jump")
    assert set(shown_claims(page)) == {8, 9, 16}
    page.get_by_label("Show claims with these words").fill("no such words")
    assert shown_claims(page) == []


def test_claims_can_be_read_without_scripts(browser, built_book):
    page = browser.new_page(java_script_enabled=False)
    page.goto((built_book / "book/index.html").as_uri())
    assert page.locator("table.claims tbody tr").count() == len(CLAIMS)
    page.locator("#claim-2 summary").click()
    assert page.locator("#claim-2 li").first.is_visible()
    page.close()


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_claim_is_one_line_that_opens(visit, width):
    page = visit("book/index", width)
    heights = page.locator("table.claims tbody tr").evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert max(heights) < (45 if width == DESKTOP else 125)
    clipped = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.innerText)"
    assert page.locator("table.claims tbody td[data-label]").evaluate_all(clipped) == []
    page.locator("#claim-7 summary").press("Enter")
    opened = page.locator("#claim-7")
    assert opened.locator("li").first.is_visible() and "python -m reproduction run" in opened.inner_text()
    assert_fits(page, width)


@pytest.mark.parametrize("act", ["a mark", "a label", "a label by keyboard"])
def test_the_figure_of_all_claims_leads_to_chapters(visit, act):
    page = visit("book/index")
    figure = page.locator("#fig-claims")
    label = figure.locator(".annotation[role=link]").first
    claim = re.match(r"\d+", label.text_content())[0]
    section = page.locator(f"#claim-{claim} a").get_attribute("href")
    if act == "a mark":
        figure.locator(".scatterlayer .trace .point").last.click(force=True)
        page.wait_for_url("**/book/*.html#*")
        return
    label.press("Enter") if "keyboard" in act else label.click()
    page.wait_for_url(f"**/book/{section}")


def test_links_between_pages_lead_somewhere(visit, built_book):
    page = visit("book/index")
    links = page.locator("table.claims a, table.table a.internal").evaluate_all("links => links.map(a => a.href)")
    assert len(links) > 16 and not any(".ipynb" in link for link in links)
    for link in sorted(set(links)):
        target, _, heading = link.removeprefix("file://").partition("#")
        text = Path(target).read_text()
        assert not heading or f'id="{heading}"' in text, link
