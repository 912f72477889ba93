"""The live page in a browser: it follows the runs, keeps what is open, and says when the server has ended."""

import threading

import pytest

from ssl_seg.reporting.live_server import LiveServer

pytestmark = [pytest.mark.slow, pytest.mark.allow_hosts(["127.0.0.1"])]

WAIT = """new Promise((done, failed) => { const end = Date.now() + 15000; (function look() {
  if (%s) done(true); else if (Date.now() > end) failed('not seen'); else setTimeout(look, 50); })(); })"""


@pytest.fixture
def served(live, tmp_path):
    for number in range(20):
        live.write_run(tmp_path / f"run-{number:02}", state="finished", age=900 - number)
    with LiveServer(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_it_follows_a_run(live, browser, served, tmp_path):
    with browser.Browser(tmp_path.with_name("profile")) as window:
        window.open(served.url)
        assert window.run("document.querySelectorAll('.charts svg').length") == 2
        window.run("document.querySelector('details').open = true; window.same = true")
        live.write_run(tmp_path / "fresh", epochs=3, planned=7)
        window.run(WAIT % "document.title.startsWith('(1 running)')")
        assert window.run("document.querySelector('tbody th').textContent") == "fresh"
        assert "3/7" in window.run("document.querySelector('tbody tr').textContent")
        live.write_run(tmp_path / "fresh", epochs=4, planned=7)
        window.run(WAIT % "document.querySelector('tbody tr').textContent.includes('4/7')")
        assert window.run("window.same"), "it was not loaded again"
        assert window.run("document.querySelector('details').open"), "what was opened stays open"
        for width in (1440, 390):
            window.size(width, phone=width == 390)
            assert window.run("document.scrollingElement.scrollWidth") <= width
        assert window.problems == []
        assert all(url.startswith((served.url, "data:")) for url in window.requests)
        served.shutdown()
        served.server_close()
        window.run(WAIT % "document.getElementById('state').textContent.startsWith('No answer')")
