"""Opens the HTML report in a headless browser, at two widths and in both colour schemes, and uses it as a reader would.

    report_test.py PROGRAM      PROGRAM: prof_export_tests, which writes the pages

Prints "N passed, N failed, N skipped" last; exit status 1 if one failed, 77 where there is no Chromium or Selenium.
MILL_TEST_SCREENSHOTS names a folder for pictures of what was tested.
"""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def skip(reason):
    print(f"skipped: {reason}")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(77)


try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
except ImportError:
    # The system's interpreter may have what the first in PATH has not.
    if Path("/usr/bin/python3").exists() and not os.environ.get("MILL_TEST_SYSTEM_PYTHON"):
        os.environ["MILL_TEST_SYSTEM_PYTHON"] = "1"
        os.execv("/usr/bin/python3", ["/usr/bin/python3", "-B", *sys.argv])
    skip("python3-selenium is not installed")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
if not BROWSER or not DRIVER:
    skip("Chromium and its driver are not installed")

counts = {"passed": 0, "failed": 0, "skipped": 0}
where = ""


def check(name, held, seen=""):
    counts["passed" if held else "failed"] += 1
    if not held:
        print(f"report_test: {where}: {name}: {seen}")


class Reader:
    """One browser window."""

    def __init__(self, width, scheme, profile):
        options = Options()
        options.binary_location = BROWSER
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(DRIVER), options=options)
        self.driver.get("about:blank")
        self.complaints()
        self.requests()  # of the page that the browser began with
        self.resize(width)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def resize(self, width):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    dict(width=width, height=900, deviceScaleFactor=1, mobile=False))

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def open(self, path):
        self.driver.get(path.as_uri())
        self.until("return document.documentElement.dataset.state")
        return self.run("return document.documentElement.dataset.state")

    def until(self, script, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.02)
        return None

    def text(self, element):
        return self.run("return document.getElementById(arguments[0]).textContent", element)

    def press(self, *keys):
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def focus(self, element):
        self.run("document.getElementById(arguments[0]).focus()", element)

    def settle(self):
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)))")

    def picture(self, name, whole=True):
        folder = os.environ.get("MILL_TEST_SCREENSHOTS")
        if not folder:
            return
        options = {"format": "png"}
        if whole:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            options |= {"captureBeyondViewport": True,
                        "clip": dict(x=0, y=0, width=size["width"], height=size["height"], scale=1)}
        data = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        Path(folder, name + ".png").write_bytes(base64.b64decode(data))

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        urls = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
        return urls


# How many colours a canvas has, and the part of it that is not the most frequent one.
PIXELS = """
const canvas = document.querySelector(arguments[0]);
const copy = Object.assign(document.createElement('canvas'), {width: canvas.width, height: canvas.height}).getContext('2d', {willReadFrequently: true});
copy.drawImage(canvas, 0, 0);
const data = new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
const count = new Map();
for (const pixel of data) count.set(pixel, (count.get(pixel) || 0) + 1);
return [count.size, 1 - Math.max(...count.values()) / data.length];
"""
# Text below the contrast of WCAG 2.2, 1.4.3: 4.5, or 3 where it is large. Disabled controls are exempt.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const bad = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest('script, .unseen, .skip, :disabled')) continue;
  const style = getComputedStyle(element);
  let ground = [255, 255, 255];
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0.99) { ground = colour; break; }
  }
  const [a, b] = [light(parse(style.color)), light(ground)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.7 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) bad.push(`${walker.currentNode.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
}
return bad;
"""
# What can be reached with the Tab key, in words.
REACHABLE = """
return [...document.querySelectorAll('a[href], button, input, summary, [tabindex]')]
  .filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0).map((e, k) => (e.dataset.walk = k + 1, k + 1));
"""
# Text that is cut off or runs out of its box.
CLIPPED = """
return [...document.querySelectorAll('h1, h2, h3, p, dt, dd, button, summary, li > span, figcaption, .tags span')]
  .filter((e) => e.checkVisibility() && !e.closest('.wide, .stepchart, .unseen, .skip') && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
  .map((e) => `${e.tagName} ${e.textContent.slice(0, 40)} ${e.scrollWidth}>${e.clientWidth}`);
"""


def looks(reader, width, scheme):
    run = reader.run
    check("nothing runs out of the page", run("return document.documentElement.scrollWidth") <= width,
          run("return document.documentElement.scrollWidth"))
    ground = run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    check("follows the colour scheme", (sum(ground[:3]) < 200) == (scheme == "dark"), ground)
    check("every text has contrast", run(CONTRAST) == [], run(CONTRAST))
    check("no text is cut", run(CLIPPED) == [], run(CLIPPED))


def training(reader, width, scheme):
    run, text = reader.run, reader.text
    check("the verdict names the first finding", len(text("headline")) > 30 and "would save about" in text("headline"), text("headline"))
    check("health is a word and a sentence", "trust" in text("health"), text("health"))
    titles = run("return [...document.querySelectorAll('#findinglist h3')].map((e) => e.textContent)")
    check("findings are in order of their rank", len(titles) >= 2 and [t.split(".")[0] for t in titles] ==
          [str(k + 1) for k in range(len(titles))], titles)
    check("the verdict is the first of them", titles and text("headline")[:20] in titles[0], titles)
    check("each has a range", run("return document.querySelectorAll('#findinglist .rangebar .mid').length") == len(titles))
    check("a column for each step", run("return document.querySelectorAll('.stepcol').length") == 6)
    meanings = run("return [...document.querySelectorAll('#findinglist .meanings dd')].map((e) => e.textContent)")
    check("each figure has a meaning", len(meanings) > 5 and all(meanings) and
          len(meanings) == run("return document.querySelectorAll('#findinglist .measures dd').length"), meanings)
    filled = run("""const bar = document.getElementById('stepbar'); const width = bar.clientWidth;
        return [...bar.children].reduce((sum, e) => sum + e.getBoundingClientRect().width, 0) / width""")
    check("the step bar is full", abs(filled - 1) < 0.01, filled)
    for name in ("#canvas", "#minimap", "#curves canvas"):
        colours, share = run(PIXELS, name)
        check(f"{name} shows something", colours >= 6 and share > 0.02, (colours, share))
    check("the kernel table has every name", run("return document.querySelectorAll('#tablelist table')[0].tBodies[0].rows.length") == 4)
    check("names in the trace did not run", run("return window.broken === undefined"))
    looks(reader, width, scheme)
    reader.picture(f"training-{width}-{scheme}")
    keyboard(reader)
    pointer(reader)


def keyboard(reader):
    run, text, press = reader.run, reader.text, reader.press
    wanted = set(run(REACHABLE))
    run("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in range(len(wanted) + 5):
        press(Keys.TAB)
        at = run("const e = document.activeElement; return e === document.body ? 0 : Number(e.dataset.walk || -1)")
        if at == 0 or (reached and at == reached[0]):
            break
        reached.append(at)
        if run("const e = document.activeElement; return getComputedStyle(e).outlineStyle === 'none'"):
            check("the focus is visible", False, run("return document.activeElement.outerHTML.slice(0, 120)"))
    missed = [run("return document.querySelector(`[data-walk='${arguments[0]}']`).outerHTML.slice(0, 100)", k)
              for k in sorted(wanted - set(reached))]
    check("Tab reaches every control", not missed, missed)

    def changes(key):
        before = text("inview")
        press(key)
        reader.settle()
        return text("inview") != before

    reader.focus("canvas")
    before = text("inview")
    for key in ("+", Keys.ARROW_RIGHT, Keys.ARROW_LEFT, "d", "a", "w", "s", "-"):
        check(f"the key {key!r} changes the view", changes(key))
    press("0")
    reader.settle()
    check("0 shows the whole", text("inview") == before, text("inview"))
    press(Keys.ENTER)
    reader.until("return !document.getElementById('details').hidden")
    check("Enter selects an event and says it", text("live").startswith("Selected "), text("live"))
    said = text("live")
    press(".")
    reader.settle()
    check("full stop goes to the next event", text("live") != said, text("live"))
    press(Keys.ESCAPE)
    check("Escape lets go", run("return document.getElementById('details').hidden"))
    press("/")
    check("slash goes to the search", run("return document.activeElement.id") == "search")
    press(*"gemm")
    check("the search counts", reader.until("return document.getElementById('mark-count').textContent === '6 found'"), text("mark-count"))
    press(Keys.ENTER)
    reader.until("return !document.getElementById('details').hidden")
    check("Enter goes to the first found", text("mark-count").startswith("1 of 6") and "gemm" in text("live"), text("live"))
    press(Keys.ESCAPE)
    check("Escape ends the search", text("mark-count") == "")

    run("document.querySelector('#findinglist button.main').focus()")
    press(Keys.ENTER)
    reader.settle()
    check("Show evidence highlights", text("mark-count").startswith("1 of ") and "evidence" in text("mark-count"), text("mark-count"))
    check("and goes to the timeline", run("return document.activeElement.id") == "canvas")
    marked = run("""const canvas = document.getElementById('canvas');
        const c = Object.assign(document.createElement('canvas'), {width: canvas.width, height: canvas.height}).getContext('2d', {willReadFrequently: true});
        c.drawImage(canvas, 0, 0);
        const [r, g, b] = getComputedStyle(document.documentElement).getPropertyValue('--mark').trim().match(/\\w\\w/g).map((x) => parseInt(x, 16));
        const d = c.getImageData(0, 0, canvas.width, canvas.height).data; let n = 0;
        for (let k = 0; k < d.length; k += 4) n += d[k] === r && d[k + 1] === g && d[k + 2] === b;
        return n""")
    check("the highlight is drawn", marked > 20, marked)
    reader.until("return !document.getElementById('details').hidden")
    reader.picture(f"evidence-{where.split()[1]}-{where.split()[2]}", whole=False)
    press("n")
    check("N goes to the next piece", text("mark-count").startswith("2 of "), text("mark-count"))
    run("document.getElementById('mark-clear').click()")

    run("document.querySelector('.stepcol').focus()")
    press(Keys.ARROW_RIGHT)
    check("arrows go through the steps", run("return [...document.querySelectorAll('.stepcol')].indexOf(document.activeElement)") == 1)
    before = text("inview")
    press(Keys.ENTER)
    check("Enter shows the step", text("inview") != before and run("return document.activeElement.id") == "canvas", text("inview"))
    reader.focus("list")
    press(Keys.ENTER)
    check("events in view are a table", run("return document.querySelectorAll('#listed tbody tr').length") > 3)
    press(Keys.ENTER)
    check("which closes", run("return document.getElementById('listed').hidden"))
    sort = "return document.querySelector('#tablelist th[aria-sort]').getAttribute('aria-sort')"
    run("document.querySelector('#tablelist th[aria-sort] button').focus()")
    before = run(sort)
    press(Keys.ENTER)
    check("a header sorts", run(sort) != before, run(sort))
    reader.focus("theme")
    colours = "return getComputedStyle(document.body).backgroundColor"
    before = run(colours)
    press(Keys.ENTER)
    reader.settle()
    check("the button changes the colours", run(colours) != before)
    check("texts keep their contrast", run(CONTRAST) == [], run(CONTRAST))
    press(Keys.ENTER)


def pointer(reader):
    run, text = reader.run, reader.text
    run("document.getElementById('whole').click(); document.getElementById('canvas').scrollIntoView({block: 'center'})")
    reader.settle()
    canvas = reader.driver.find_element("id", "canvas")
    before = text("inview")
    ActionChains(reader.driver).move_to_element_with_offset(canvas, 60, 0).click_and_hold().move_by_offset(-80, 0).release().perform()
    reader.settle()
    run("document.getElementById('zoom-in').click()")
    check("the button zooms", text("inview") != before)
    before = text("inview")
    ActionChains(reader.driver).move_to_element_with_offset(canvas, 60, 0).click_and_hold().move_by_offset(-80, 0).release().perform()
    check("dragging moves the view", text("inview") != before)
    before = text("inview")
    run("""document.getElementById('canvas').dispatchEvent(new WheelEvent('wheel', {deltaY: -100, ctrlKey: true, cancelable: true,
        clientX: 200, clientY: document.getElementById('canvas').getBoundingClientRect().top + 60}))""")
    reader.settle()
    check("the wheel zooms", text("inview") != before)
    ActionChains(reader.driver).double_click(canvas).perform()
    reader.settle()
    check("a double click shows the whole", text("inview").startswith("In view: 0 ns"), text("inview"))


def late_start(reader):
    run = reader.run
    heights = run("""return [...document.querySelectorAll('.stepcol .stack')].map((e) =>
        [...e.children].reduce((sum, part) => sum + part.getBoundingClientRect().height, 0))""")
    check("a long first step does not flatten the others", len(heights) == 6 and min(heights) > 100, heights)
    check("it is cut", run("return document.querySelectorAll('.stepcol .stack.cut').length") == 1)
    check("and the note says so", "warm-up is cut at the top (up to 820 ms" in reader.text("chart-note"), reader.text("chart-note"))


def clean(reader, path):
    check("no complaint in the console", (found := reader.complaints()) == [], found)
    outside = [url for url in reader.requests() if not url.startswith((path.as_uri(), "data:", "blob:"))]
    check("no request", outside == [], outside)


def main():
    global where
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder, "pages")
        pages.mkdir()
        wrote = subprocess.run([sys.argv[1], "--gtest_filter=HtmlFiles.*"], text=True, capture_output=True,
                               env=os.environ | {"MILL_TEST_REPORTS": str(pages), "GTEST_OUTPUT": ""})
        if wrote.returncode != 0:
            print(wrote.stdout + wrote.stderr)
            sys.exit(1)
        for scheme in ("light", "dark"):
            for width in (480, 1400):
                reader = Reader(width, scheme, f"{folder}/{width}-{scheme}")
                try:
                    where = f"training {width} {scheme}"
                    page = pages / "training.html"
                    check("is ready", reader.open(page) == "ready")
                    training(reader, width, scheme)
                    clean(reader, page)
                    for other in (400, 2560):
                        where = f"training {other} {scheme}"
                        reader.resize(other)
                        looks(reader, other, scheme)
                        reader.picture(f"training-{other}-{scheme}")
                    reader.resize(width)
                    printed = reader.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
                    check("prints", len(printed) > 20000, len(printed))
                    for name in ("million", "merged", "machine", "none", "empty", "late"):
                        if name == "million" and (width, scheme) != (1400, "light"):
                            continue
                        where = f"{name} {width} {scheme}"
                        page = pages / f"{name}.html"
                        check("is ready", reader.open(page) == "ready")
                        looks(reader, width, scheme)
                        if name == "late":
                            late_start(reader)
                        if name == "machine":
                            reader.focus("canvas")
                            reader.press(*[Keys.ARROW_DOWN] * 8)
                            check("arrows scroll the lanes", reader.run("return document.getElementById('scroller').scrollTop") > 100)
                        if name in ("million", "merged", "machine"):
                            colours, share = reader.run(PIXELS, "#canvas")
                            check("the canvas shows something", colours >= 6 and share > 0.02, (colours, share))
                        if name == "million":
                            frames = reader.driver.execute_async_script(FRAMES)
                            print(f"report_test: {page.stat().st_size:,} bytes, ready after "
                                  f"{reader.run('return document.documentElement.dataset.ready')} ms, "
                                  f"{sorted(frames)[len(frames) // 2]:.1f} ms between frames while zooming (median of {len(frames)})")
                        reader.picture(f"{name}-{width}-{scheme}")
                        clean(reader, page)
                finally:
                    reader.driver.quit()
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if counts["failed"] else 0)


# Times between frames while the view zooms in and out.
FRAMES = """
const done = arguments[0], canvas = document.getElementById('canvas'), times = [];
canvas.focus();
let last = performance.now(), turn = 0;
const frame = (now) => {
  times.push(now - last);
  last = now;
  if (++turn > 60) { done(times.slice(1)); return; }
  canvas.dispatchEvent(new KeyboardEvent('keydown', {key: turn < 20 ? '+' : turn < 40 ? 'ArrowRight' : '-'}));
  requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
"""

if __name__ == "__main__":
    main()
