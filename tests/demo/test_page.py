"""The page in Chromium: a photo is uploaded, a class and a layer are clicked, and a bad file is a message."""

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.pictures import noise

import tfalexnet

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 120  # Seconds; the first heatmap imports TensorFlow.


@pytest.fixture(scope="module")
def browser(address) -> Iterator[Any]:
    """Chromium with the page, which logs all requests."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,2000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.chrome.service.Service(DRIVER))
    browser.get(address)
    yield browser
    browser.quit()


def wait(condition: Callable[[], Any]) -> Any:
    """The first true value of a condition; elements that are replaced meanwhile are looked up again."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except (WebDriverException, IndexError):
            pass
        time.sleep(0.05)
    raise TimeoutError(f"not within {PATIENCE} s")


def find(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)


def give(browser: Any, path: object) -> None:
    """Upload a file instead of the present one."""
    for button in find(browser, "#photo button[aria-label='Remove Image']"):
        button.click()
        wait(lambda: not find(browser, "#photo button[aria-label='Remove Image']") and answers(browser) == [[], []])
    wait(lambda: find(browser, "#photo input[type=file]"))[0].send_keys(str(path))


def answers(browser: Any) -> list[list[str]]:
    """The classes that are shown for each of the two weights, best first."""
    shown = [
        [element.get_attribute("textContent").split() for element in label.find_elements("css selector", "dt")]
        for label in find(browser, ".answer")
    ]
    return [[" ".join(words) for words in label] for label in shown]


def click(browser: Any, group: str, name: str) -> None:
    """Click a choice of `#weights` or `#layer`."""
    wait(lambda: [choice for choice in find(browser, f"#{group} label") if choice.text.strip() == name])[0].click()


def screenshot(browser: Any, name: str) -> None:
    """Save a screenshot where TFALEXNET_SCREENSHOTS names a folder."""
    data = browser.get_screenshot_as_png()
    assert Image.open(io.BytesIO(data)).convert("L").getextrema() != (255, 255)
    if folder := os.environ.get("TFALEXNET_SCREENSHOTS"):
        with open(f"{folder}/{name}.png", "wb") as file:
            file.write(data)


def picture(browser: Any, name: str) -> str:
    """The address of a picture on the page, empty if there is none."""
    images = find(browser, f"#{name} img")
    return images[0].get_attribute("src") if images else ""


def test_a_photo_is_answered_by_both_weights(browser, photo, towers):
    wait(lambda: picture(browser, "filters"))
    give(browser, photo)
    both = wait(lambda: all(answers(browser)) and answers(browser))
    for shown, weights in zip(both, ["cifar10", towers], strict=True):
        assert [name.split(" (")[0] for name in shown] == [p.label for p in tfalexnet.predict(photo, weights)]
    wait(lambda: picture(browser, "maps"))
    screenshot(browser, "answer")


def test_a_class_that_is_clicked_has_a_heatmap(browser):
    assert not picture(browser, "heatmap")
    find(browser, ".answer .confidence-set")[0].click()
    wait(lambda: picture(browser, "heatmap"))
    screenshot(browser, "heatmap")


def test_a_layer_of_other_weights_is_shown_with_its_towers(browser):
    click(browser, "weights", "towers")
    click(browser, "layer", "conv5")
    wait(lambda: "conv5: 32 maps of 13×13; black is 0" in find(browser, "#caption")[0].text)
    assert "the towers are side by side" in find(browser, "#caption")[0].text
    assert len(find(browser, "#layer label")) == 14
    screenshot(browser, "towers")


def test_a_sample_is_answered(browser):
    before = answers(browser)
    wait(lambda: find(browser, "#samples img[src*='stripes']"))[0].click()
    wait(lambda: all(answers(browser)) and answers(browser) != before)
    wait(lambda: not picture(browser, "heatmap"))  # That of the photo before.


def test_a_bad_file_is_a_message_and_a_good_one_is_answered_afterwards(browser, photo, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    give(browser, bad)
    wait(lambda: "bad.png: not a picture in a format that is read" in browser.page_source)
    wait(lambda: answers(browser) == [[], []] and not picture(browser, "maps"))
    screenshot(browser, "bad")
    give(browser, photo)
    wait(lambda: all(answers(browser)) and picture(browser, "maps"))


def test_the_page_asks_no_other_host(browser, address):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    errors = [entry["message"] for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert errors == []


def test_equal_pictures_of_two_sessions_are_two_files():
    pytest.importorskip("gradio")
    from tfalexnet.demo.page import picture_output

    output = picture_output("Maps", "maps")
    for pixels in (noise(1)[0], noise(1)[0][..., :1]):
        paths = [output.postprocess(pixels).path for _ in range(2)]
        assert paths[0] != paths[1]
        for path in paths:
            with Image.open(path) as image:
                np.testing.assert_array_equal(np.asarray(image), pixels.squeeze())
    assert output.postprocess(None) is None
