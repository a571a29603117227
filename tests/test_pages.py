"""The rendered book in a headless browser, read as plain files: all is drawn, all controls work, nothing is fetched."""

from functools import partial

import pytest

from tests.conftest import DESKTOP
from tools.chapters import all_chapters

PAGES = ["index", "search", "genindex", *all_chapters()]
PHONE = 390
# what a reader sees of a figure, without the control that was used
DRAWN = """gd => [gd.querySelector('.plot-container .main-svg').innerHTML,
                  gd.querySelector('.infolayer .gtitle')?.textContent].join()"""


def controls(page):
    """Each figure that has controls, with what plotly knows of it."""
    for figure in page.locator(".plotly-graph-div").all():
        if figure.evaluate("gd => (gd.layout.sliders || []).length + (gd.layout.updatemenus || []).length"):
            figure.scroll_into_view_if_needed()
            yield figure


def assert_changes(page, figure, act, what):
    before = figure.evaluate(DRAWN)
    act()
    for _ in range(50):
        if figure.evaluate(DRAWN) != before:
            return
        page.wait_for_timeout(100)
    pytest.fail(f"{what} changes nothing in {figure.get_attribute('id')}")


@pytest.mark.parametrize("name", PAGES)
def test_page_is_clean(visit, name):
    page = visit(name)
    assert page.trouble == []
    formulas = page.locator(".math").count()
    if formulas:
        page.locator("mjx-container svg").first.wait_for(state="attached", timeout=20_000)
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
        assert page.locator("mjx-container").count() >= formulas
    assert page.evaluate("typeof define") == "undefined", "an AMD loader would keep plotly.js from its global name"


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_its_width(visit, name, width):
    page = visit(name, width)
    wide = page.evaluate(
        """() => [...document.querySelectorAll('.bd-article *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && e.scrollWidth > e.clientWidth)
            .map(e => e.outerHTML.slice(0, 80)).slice(0, 3)"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"wider than the page: {wide}"
    for figure in page.locator(".plotly-graph-div").all():
        box = figure.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width + 1


@pytest.mark.parametrize("name", all_chapters())
def test_sliders_change_their_figure(visit, name):
    page = visit(name)
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
    figures = page.locator(".plotly-graph-div")
    linked = [i for i in range(figures.count()) if figures.nth(i).evaluate("gd => gd.layout.meta?.linked") == "beta"]
    assert len(linked) == 4
    first, *others = (figures.nth(i) for i in linked)
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


@pytest.mark.parametrize("name", all_chapters())
def test_menus_change_their_figure(visit, name):
    page = visit(name)
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


@pytest.mark.parametrize("name", all_chapters())
def test_figures_follow_the_theme(visit, name):
    page = visit(name, theme="dark")
    background = "gds => gds.map(gd => gd._fullLayout.paper_bgcolor)"
    figures = page.locator(".plotly-graph-div")
    dark = figures.evaluate_all(background)
    assert all(colour == "rgba(0,0,0,0)" for colour in dark)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_timeout(500)
    assert all(colour != "rgba(0,0,0,0)" for colour in figures.evaluate_all(background))
    assert page.trouble == []
