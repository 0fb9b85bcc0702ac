"""How fast a page of `nanoldm page` is, in headless Chromium on one core.

    python benchmarks/page.py mnist-fast-conditional mnist-fast

Needs chromium and playwright. Prints a table; --save writes it to benchmarks/page.json.
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro
from curve import ROOT, run
from throughput import machine

from nanoldm.utils.files import write_json

RESULT = ROOT / "benchmarks" / "page.json"
# Times of a worker of its own: of one image and of 16, in the page's usual steps, decoded
TIMES = """async (plain) => {
  const page = JSON.parse(document.getElementById("page").textContent);
  const bytes = id => Uint8Array.from(atob(document.getElementById(id).textContent.trim()),
    character => character.charCodeAt(0));
  const source = new Blob([document.getElementById("worker").textContent]);
  const worker = new Worker(URL.createObjectURL(source));
  let answer;
  const wait = () => new Promise(resolve => { answer = resolve; });
  worker.onmessage = ({ data }) => { if (data.ready || data.done) answer(); };
  const weights = bytes("weights").buffer;
  let ready = wait();
  worker.postMessage({ page, weights, code: plain ? null : bytes("kernels") }, [weights]);
  await ready;
  const { rows } = page.samplers[page.own.sampler][page.own.steps], times = {};
  let id = 0;
  for (const count of [1, 16]) {
    times[count] = [];
    for (let k = 0; k < (plain ? 3 : 12); k++) {
      const seeds = Array.from({ length: count }, (_, j) => 100 * k + j);
      const before = performance.now();
      const done = wait();
      worker.postMessage({ id: ++id, channel: "timing", kind: "generate",
        ask: { seeds, label: page.classes.length ? 7 : null, guidance: 1, rows } });
      await done;
      times[count].push(performance.now() - before);
    }
  }
  worker.terminate();
  return times;
}"""
LONGEST = """() => { window.longest = 0; new PerformanceObserver(list => {
    for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration)
  }).observe({ entryTypes: ["longtask"] }) }"""


def measure(browser: Any, file: Path) -> dict[str, Any]:
    """Size, opening, images and the longest pause of a page."""
    tab = browser.new_page(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    began = time.perf_counter()
    tab.goto(file.as_uri())
    tab.wait_for_selector("body[data-ready]")
    interactive = time.perf_counter() - began
    tab.wait_for_selector('#grid[aria-busy="false"]')
    first = time.perf_counter() - began
    tab.wait_for_timeout(5000)  # the other parts of the page have their first images, too
    tab.evaluate(LONGEST)
    for k in range(50):
        tab.locator("#noise").fill(str(k))
        tab.locator("#share").fill(str(2 * k))
        tab.locator("#timeline").fill(str(k % 5))
    tab.wait_for_timeout(1000)
    longest = tab.evaluate("() => window.longest")
    compiled, plain = tab.evaluate(TIMES, False), tab.evaluate(TIMES, True)
    tab.close()
    found = {"MB": file.stat().st_size / 1e6, "interactive, s": interactive,
             "16 images after opening, s": first, "longest pause of sliders, ms": longest}
    for count in ("1", "16"):
        found[f"{count} image{'s' * (count != '1')}, ms"] = statistics.median(compiled[count])
        found[f"the same in plain JavaScript, {count}, ms"] = statistics.median(plain[count])
    return found


def main(models: tyro.conf.Positional[tuple[str, ...]] = ("mnist-fast-conditional",),
         save: bool = False) -> None:
    from playwright.sync_api import sync_playwright

    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {model: Path(folder) / f"{Path(model).name}.html" for model in models}
        for model, file in files.items():
            run("page", model, "--out", file)
        os.sched_setaffinity(0, {0})  # of the browser, too
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"),
                                                 args=["--no-sandbox", "--disable-gpu"])
            for model, file in files.items():
                rows[model] = measure(browser, file)
                print(f"{model}\n" + "\n".join(f"  {name:<40} {value:8.2f}"
                                              for name, value in rows[model].items()), flush=True)
            browser.close()
    if save:
        write_json(RESULT, {"machine": machine(), "models": rows})


if __name__ == "__main__":
    tyro.cli(main)
