"""Reads a page for the tests: its elements, tables, numbers and scripts."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "path", "circle", "line", "rect"}


class Reader(HTMLParser):
    """Every element with its attributes, the cells of every table, and every number with its source."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.tables, self.numbers, self.scripts, self.texts = [], [], [], [], []
        self._open, self._cell = [], None
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append((tag, found))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = self.tables[-1][-1]
        if tag == "data":
            self.numbers.append([float(found["value"]), "", found["title"]])
        if tag == "script":
            self.scripts.append([found.get("type"), ""])

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self._open.pop() == tag, f"</{tag}> closes something else"
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, text):
        self.texts.append(text)
        if self._cell is not None:
            self._cell[-1] += text
        if self._open and self._open[-1] == "data":
            self.numbers[-1][1] += text
        if self._open and self._open[-1] == "script":
            self.scripts[-1][1] += text
