"""The page in a real browser, headless Chromium: no error, and all that a visitor does."""

import shutil

import pytest

from tests.page_folders import copy, make

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and its driver")

FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def address(finished, params, tmp_path_factory):
    out = tmp_path_factory.mktemp("browser") / "report"
    assert make(copy(finished, params, tmp_path_factory.mktemp("page")), out) == 0
    return (out / "index.html").as_uri()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A browser of its own, which is ended by its driver."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def browser(started, address):
    """The page anew, wide and light; at the end nothing may stand in the console."""
    emulate(started, 1280, "light")
    started.get(address)
    yield started
    assert started.get_log("browser") == []


def emulate(browser, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def press(browser, *keys):
    """Press keys where the focus is."""
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def text(browser, selector):
    return browser.execute_script(f"return document.querySelector({selector!r})?.textContent")


def count(browser, selector):
    return browser.execute_script(f"return document.querySelectorAll({selector!r}).length")


def click(browser, selector):
    browser.execute_script(f"document.querySelector({selector!r}).click()")


def is_open(browser):
    return browser.execute_script("return document.getElementById('pair').open")


KEYS = webdriver.Keys
SELECTED = '#strip [aria-selected="true"]'


def test_queries_are_switched_by_click_and_by_keys(browser):
    number = f"return document.querySelector('{SELECTED}').dataset.query"
    before = text(browser, "#query-text")
    click(browser, "#strip li:nth-child(2)")
    assert browser.execute_script(number) == "1"
    assert text(browser, "#query-text") != before
    press(browser, KEYS.ARROW_LEFT)
    assert browser.execute_script(number) == "0"
    assert text(browser, "#query-text") == before
    press(browser, KEYS.ARROW_LEFT)  # there is none before the first
    assert browser.execute_script(number) == "0"
    press(browser, KEYS.END)
    last = count(browser, "#strip li") - 1
    assert browser.execute_script(number) == str(last)
    assert count(browser, SELECTED) == 1


def test_columns_and_protocols_are_switched(browser):
    summary = text(browser, "#summary")
    assert summary.startswith("By Global+DMLI(RK): ")
    click(browser, 'input[name="column"][value="local"]')
    assert text(browser, "#summary").startswith("By Local: ")
    image = "return document.getElementById('query-image').src"
    before = browser.execute_script(image)
    click(browser, 'input[name="protocol"][value="partial"]')
    assert browser.execute_script(image) != before
    assert count(browser, "#results .card") == 10


def test_every_result_has_a_sign_besides_its_colour(browser):
    for kind, sign, word in (("match", "✓", "match"), ("wrong", "✗", "wrong")):
        cards = browser.execute_script(
            f"return [...document.querySelectorAll('#results .{kind}.card')].map((card) =>"
            " [card.querySelector('.mark').textContent, card.getAttribute('aria-label')])"
        )
        assert all(shown == sign and f": {word}," in label for shown, label in cards)
    cameras = browser.execute_script(
        "return [...document.querySelectorAll('#results .card')].map((card) =>"
        " [card.querySelector('.camera') !== null, card.getAttribute('aria-label')])"
    )
    assert all(has == ("the query's camera" in label) for has, label in cameras)


def test_a_group_filters_the_queries(browser):
    everything = count(browser, "#strip li")
    browser.execute_script(
        "const group = document.getElementById('group'); group.selectedIndex = 1;"
        "group.dispatchEvent(new Event('change'))"
    )
    assert 1 <= count(browser, "#strip li") < everything
    title = text(browser, "#group option:nth-child(2)")
    assert title in text(browser, "#query-text")


def test_an_alignment_opens_by_enter_and_closes_by_escape(browser):
    browser.execute_script("document.querySelector('#results button').focus()")
    press(browser, KEYS.ARROW_RIGHT, KEYS.ENTER)
    assert is_open(browser)
    assert count(browser, "#links image") == 2
    assert count(browser, "#links .link") == 15
    assert count(browser, "#costs .cell") == 64
    assert count(browser, "#costs .route.straight") == 0
    click(browser, 'input[name="alignment"][value="straight"]')
    assert count(browser, "#links .link") == 8
    assert count(browser, "#costs .route.straight") == 1
    assert "15 cells of the cheapest path sum to" in text(browser, "#sums")
    assert len(text(browser, "#pair-body")) > 7 * 4
    press(browser, KEYS.ESCAPE)
    assert not is_open(browser)
    focus = "return document.activeElement.classList.contains('card')"
    assert browser.execute_script(focus), "the focus is back where it was"


def test_tabs_show_one_panel_on_screen(browser):
    shown = "return [...document.querySelectorAll('[data-panel=cameras-column]')].map((panel) => panel.offsetParent !== null)"  # noqa: E501
    assert browser.execute_script(shown) == [False] * 6 + [True]
    click(browser, '[data-tabs="cameras-column"] input[value="2"]')
    assert browser.execute_script(shown) == [False, False, True, False, False, False, False]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_any_width_and_every_image_is_there(browser, width, scheme):
    emulate(browser, width, scheme)
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(overflow) <= 0
    click(browser, "#results button")
    assert browser.execute_script("return document.getElementById('pair').scrollWidth") <= width
    missing = "return [...document.images].filter((image) => image.complete && !image.naturalWidth)"
    assert browser.execute_script(f"{missing}.length") == 0
    back = "return getComputedStyle(document.body.parentElement).backgroundColor"
    assert (
        browser.execute_script(back)
        == {
            "light": "rgb(250, 250, 248)",
            "dark": "rgb(19, 22, 25)",
        }[scheme]
    )


def test_names_are_text(browser):
    assert "é" in browser.title
    assert count(browser, "h1 *") == 0
