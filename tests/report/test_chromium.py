"""The page in a real browser: no errors, no network, nothing wider than the screen, charts that answer the pointer."""

import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
PROBE = """
<script>
const wide = [...document.querySelectorAll("body *")].filter(
  (one) => one.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(one).display !== "none");
const strip = document.querySelector("[data-tip]");
strip.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: 50, clientY: 90 }));
const before = getComputedStyle(document.body).backgroundColor;
document.getElementById("theme").click();
console.log("SAW " + JSON.stringify({
  width: innerWidth,
  scroll: document.documentElement.scrollWidth,
  wide: wide.map((one) => one.outerHTML.slice(0, 80)),
  tip: document.getElementById("tip").textContent,
  hidden: document.getElementById("tip").hidden,
  toggled: getComputedStyle(document.body).backgroundColor !== before,
  loads: performance.getEntriesByType("resource").filter((one) => !one.name.startsWith("data:")).map((one) => one.name),
}) + " SEEN");
</script>
"""


@pytest.mark.parametrize(("width", "theme"), [(390, ["--force-dark-mode"]), (1280, [])], ids=["phone", "desk"])
def test_the_page_holds_in_a_browser(profiled, trained, report, tmp_path, width, theme):
    page = report(profiled[0], trained("a"), trained("b", seed=1))[1]
    (tmp_path / "probed.html").write_text(page.replace("</body>", f"{PROBE}</body>"))
    # a window is 500 px wide at least: the phone's is a frame
    frame = f'<!doctype html><iframe src="probed.html" width="{width}" height="900"></iframe>'
    (tmp_path / "frame.html").write_text(frame)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom", *theme]
    address = (tmp_path / "frame.html").as_uri()
    user = f"--user-data-dir={tmp_path / 'browser'}"
    done = subprocess.run(
        [*command, user, "--window-size=1400,1000", address], capture_output=True, text=True, timeout=120
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(said) == 1, said
    seen = json.loads(re.search(r"SAW (.*) SEEN", said[0])[1].replace('\\"', '"'))
    assert seen["scroll"] <= seen["width"] == width and seen["wide"] == []
    assert seen["tip"].startswith("E(x) ") and not seen["hidden"]
    assert seen["toggled"] and seen["loads"] == []
