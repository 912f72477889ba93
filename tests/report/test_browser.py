"""The page in a browser: what it shows, what its buttons do, that it asks nobody and complains of nothing."""

import json
from urllib.parse import urlsplit

import pytest

from ssl_seg.reporting.build import build
from ssl_seg.reporting.page import write_page

pytestmark = pytest.mark.slow

# how many pixels of the map have about the colour of a class
COUNT = """(place => {
  const canvas = document.querySelector('.plot > canvas'), swatch = document.querySelectorAll('.switches .swatch')[place];
  const wanted = getComputedStyle(swatch).backgroundColor.match(/[\\d.]+/g).map(Number);
  const copy = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  [copy.canvas.width, copy.canvas.height] = [canvas.width, canvas.height];
  copy.drawImage(canvas, 0, 0);
  const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4)
    if (pixels[i + 3] > 150 && [0, 1, 2].every(c => Math.abs(pixels[i + c] - wanted[c]) < 12)) count++;
  return count;
})(%d)"""
PICTURE = "document.querySelector('.plot > canvas').toDataURL()"
STILL = "new Promise(done => setTimeout(done, %d))"


@pytest.fixture(scope="module")
def path(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(build([study]), path)
    return path


@pytest.fixture(scope="module")
def window(browser, tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def shown(window, path):
    window.fresh()
    window.open(path)
    yield window
    assert window.problems == []
    assert {urlsplit(url).scheme for url in window.requests} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in window.requests) == 1, "only the page itself"


def middle(opened, selector, number=0):
    """Bring an element into view; where its middle is."""
    script = f"""(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{number}];
      e.scrollIntoView({{block: 'center', behavior: 'instant'}}); const b = e.getBoundingClientRect();
      return [b.x + b.width / 2, b.y + b.height / 2]; }})()"""
    return opened.run(script)


def test_a_switch_hides_the_points_of_its_class(shown):
    before = [shown.run(COUNT % place) for place in range(3)]
    assert min(before) > 100
    shown.click(*middle(shown, ".switches button", 2))  # the first is for all
    shown.point(1, 1)
    shown.run("document.activeElement.blur()")
    after = [shown.run(COUNT % place) for place in range(3)]
    assert after[1] == 0
    assert after[0] >= before[0]
    assert after[2] >= before[2]
    assert (
        shown.run("document.querySelectorAll('.switches button')[2].getAttribute('aria-pressed')") == "false"
    )
    shown.click(*middle(shown, ".switches button", 0))
    shown.run("document.activeElement.blur()")
    shown.point(1, 1)
    assert [shown.run(COUNT % place) for place in range(3)] == before


def test_epochs_move_the_points(shown):
    last = shown.run(PICTURE)
    assert shown.run("document.querySelector('output').textContent") == "3"
    shown.click(*middle(shown, "button.epoch", 0))
    shown.run(STILL % 900)
    first = shown.run(PICTURE)
    assert shown.run("document.querySelector('output').textContent") == "1"
    assert shown.run("document.querySelector('input[type=range]').value") == "0"
    assert first != last
    assert shown.run("document.querySelector('button.epoch').getAttribute('aria-pressed')") == "true"
    shown.run(
        "(e => { e.value = 0.5; e.dispatchEvent(new Event('input')); })(document.querySelector('input[type=range]'))"
    )
    assert shown.run(PICTURE) not in (first, last)
    shown.click(*middle(shown, ".play"))
    shown.run(STILL % 900)
    assert shown.run("document.querySelector('input[type=range]').value") == "1"


@pytest.mark.parametrize("place", [min, max])
def test_pointing_at_a_point_shows_its_image(shown, study, make, place):
    x, y = middle(shown, ".plot > canvas")
    width, height = shown.run(
        "(c => [c.clientWidth, c.clientHeight])(document.querySelector('.plot > canvas'))"
    )
    known = json.loads((study / "classify-20" / "figures" / "tsne.json").read_text())
    data = shown.run("JSON.parse(document.querySelector('section.map script').textContent)")
    # at an end of the map, where nothing is near
    target = place(range(80), key=lambda i: data["maps"][-1]["xy"][i][0])
    side = min(width, height) - 28
    wide = min((width - 28) / side, 1.15) * side
    px, py = data["maps"][-1]["xy"][target]
    left, top = x - width / 2 + (width - wide) / 2, y - height / 2 + (height - side) / 2
    shown.point(left + px * wide, top + (1 - py) * side)
    tip = shown.run("(t => [t.hidden, t.textContent])(document.querySelector('.tip'))")
    assert tip == [False, known["classes"][known["targets"][target]] + known["filenames"][target]]
    pixel = "(c => [...c.getContext('2d').getImageData(30, 30, 1, 1).data])(document.querySelector('.tip canvas'))"
    assert shown.run(pixel)[:3] == pytest.approx(make.tile_colour(target), abs=12)
    shown.point(1, 1)
    assert shown.run("document.querySelector('.tip').hidden")


def test_a_search_lets_the_points_of_a_class_stand_out(shown):
    before = [shown.run(COUNT % place) for place in range(3)]
    shown.run(
        "(e => { e.value = 'DOG'; e.dispatchEvent(new Event('input')); })(document.querySelector('.search'))"
    )
    after = [shown.run(COUNT % place) for place in range(3)]
    assert (after[0], after[2]) == (0, 0), "the others are faint"
    assert after[1] > before[1], "they are larger and in front"
    assert shown.run("document.querySelector('.hits').textContent") == "27 of 80 points"
    shown.run(
        "(e => { e.value = 'photo'; e.dispatchEvent(new Event('input')); })(document.querySelector('.search'))"
    )
    assert shown.run("document.querySelector('.hits').textContent") == "40 of 80 points"
    shown.run(
        "(e => { e.value = ''; e.dispatchEvent(new Event('input')); })(document.querySelector('.search'))"
    )
    assert [shown.run(COUNT % place) for place in range(3)] == before


def test_a_table_sorts_by_a_column(shown):
    """By the values, not by the letters; the other way by another click."""
    column = "[...document.querySelectorAll('table.runs tbody tr')].map(r => r.cells[4].textContent)"
    start = shown.run(column)
    number = [float(text) for text in start]
    assert number != sorted(number)
    for order in (False, True):
        shown.click(*middle(shown, "table.runs .sort", 4))
        assert [float(text) for text in shown.run(column)] == sorted(number, reverse=order)
    assert shown.run("document.querySelectorAll('table.runs [aria-sort]').length") == 1


def test_the_keyboard_reaches_and_works_everything(shown):
    seen = []
    for _ in range(60):
        shown.key("Tab", 9)
        seen.append(
            shown.run("(e => e.tagName + '.' + (e.className || e.id || e.type))(document.activeElement)")
        )
    assert seen[0] == "A.skip"
    for wanted in (
        "BUTTON.theme",
        "CANVAS.canvas",
        "BUTTON.play",
        "INPUT.range",
        "BUTTON.epoch",
        "DIV.scroll",
    ):
        assert wanted in seen or wanted.replace("CANVAS.canvas", "CANVAS.undefined") in seen, seen
    shown.run("document.querySelector('.plot > canvas').focus()")
    told = []
    for _ in range(4):
        shown.key("ArrowRight", 39)
        told.append(shown.run("document.querySelector('.tip').style.cssText"))
    assert len(set(told)) > 2
    assert shown.run("document.querySelector('.tip').hidden") is False
    shown.key("Escape", 27)
    assert shown.run("document.querySelector('.tip').hidden")
    shown.run("document.querySelectorAll('.switches button')[1].focus()")
    shown.key("Enter", 13, text="\r")
    assert (
        shown.run("document.querySelectorAll('.switches button')[1].getAttribute('aria-pressed')") == "false"
    )
    shown.run("document.querySelector('input[type=range]').focus()")
    shown.key("Home", 36)
    assert shown.run("document.querySelector('output').textContent") == "1"


def test_the_theme_can_be_switched(shown):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = shown.run(ground)
    shown.dark()
    dark = shown.run(ground)
    assert light != dark
    button = middle(shown, "#theme")
    shown.click(*button)
    assert shown.run(ground) == light
    shown.click(*button)
    assert shown.run(ground) == dark
    shown.dark(False)
    assert shown.run(ground) == dark
    assert shown.run("document.getElementById('theme').textContent") == "Theme: dark"


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_its_ground(shown, dark):
    """Contrast of at least 4.5 to 1, for every text that is there (WCAG 2.2, AA)."""
    shown.dark(dark)
    faint = shown.run("""(() => {
      const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const rgb = colour => { context.clearRect(0, 0, 1, 1); context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1); return [...context.getImageData(0, 0, 1, 1).data]; };
      const light = c => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part *
        (c[i] <= 10.3 ? c[i] / 255 / 12.92 : ((c[i] / 255 + 0.055) / 1.055) ** 2.4), 0);
      const ground = e => { for (; e; e = e.parentElement) {
        const found = rgb(getComputedStyle(e).backgroundColor); if (found[3] === 255) return found; }
        return [255, 255, 255]; };
      const found = [];
      document.querySelectorAll('body *').forEach(e => {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) return;
        if (e.closest('script, [hidden]') || e.tagName === 'title') return;
        const svg = e instanceof SVGElement, style = getComputedStyle(e);
        const [a, b] = [light(rgb(svg ? style.fill : style.color)), light(ground(e))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) found.push(e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 30));
      });
      return found;
    })()""")
    assert faint == []


def test_it_prints(shown, tmp_path):
    shown.print(tmp_path / "report.pdf")
    paper = (tmp_path / "report.pdf").read_bytes()
    assert paper.startswith(b"%PDF")
    assert paper.count(b"/Type /Page\n") >= 3 or len(paper) > 50_000
    assert shown.run("[...document.querySelectorAll('details')].every(part => part.open)")


def test_without_scripts_the_pair_is_there(window, path):
    window.fresh()
    window.ask("Emulation.setScriptExecutionDisabled", value=True)
    window.open(path)
    shown = "(e => [e.querySelector('.interactive').hidden, e.querySelectorAll('.pair svg').length])"
    assert window.run(f"{shown}(document.querySelector('section.map'))") == [True, 2]
    assert window.problems == []


@pytest.mark.parametrize(
    "word",
    [
        "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>",
        "'\"><svg/onload=document.title='owned'><a href=javascript:alert(1)>",
    ],
)
def test_hostile_names_run_nothing(window, make, word, tmp_path):
    path = tmp_path / "report.html"
    write_page(build([make.write_study(tmp_path / "out", word=word)], f"T{word}"), path)
    window.fresh()
    window.open(path)
    for number in range(1, 4):
        window.click(*middle(window, ".switches button", number))
    x, y = middle(window, ".plot > canvas")
    for step in range(-200, 200, 16):
        window.point(x + step, y)
    window.run(STILL % 200)
    assert window.run("document.title") == f"T{word}"
    assert window.run("document.querySelectorAll('[onerror], [onload]').length") == 0
    assert window.problems == []
    assert sum(not url.startswith("data:") for url in window.requests) == 1
