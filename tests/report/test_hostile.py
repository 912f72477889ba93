"""Names that others have given stay names: in HTML, in Markdown, in LaTeX."""

import re

import pytest
from markdown_it import MarkdownIt

from ssl_seg.reporting.build import build
from ssl_seg.reporting.latex import tables
from ssl_seg.reporting.markdown import write_markdown
from ssl_seg.reporting.page import page

HOSTILE = [
    "</script><img src=x onerror=\"document.title='owned'\">",
    "\"'><svg onload=alert(1)><!--",
    "</title></style></textarea></svg><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %} ${7*7} &lt;b&gt; &#60;b&#62;",
    "\u2028\u2029\x00\x1b[31m \u202e gnp.exe \\u003c ]]>",
    "| a | b |\n# head\n[x](javascript:alert(1)) ![x](http://e.com/p.png) <http://e.com> `code` **b**",
    "\\input{/etc/passwd} \\write18{id} $x$ % & # _ ^ ~ { } \\\\ \\end{tabular}",
    "[optional] *starred",
    "``` \n~~~\n<b>bold</b>\n\n    code\n- item\n1. item\n> quote\n===",
]


@pytest.fixture(scope="module", params=range(len(HOSTILE)))
def word(request):
    return HOSTILE[request.param]


@pytest.fixture(scope="module")
def report(make, word, tmp_path_factory):
    return build([make.write_study(tmp_path_factory.mktemp("hostile") / "out", word=word)], word)


@pytest.fixture(scope="module")
def plain_report(study):
    return build([study], "plain")


def skeleton(reader, text):
    """Elements and the names of their attributes, without what is in them."""
    return [(tag, sorted(attributes)) for tag, attributes in reader.Reader(text).elements]


def test_no_name_makes_an_element_of_the_page(reader, report, plain_report):
    found, wanted = page(report), page(plain_report)
    assert skeleton(reader, found) == skeleton(reader, wanted)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", found)
    assert "49" not in reader.Reader(found).elements[0]


def test_a_name_is_shown_as_it_is(reader, make, tmp_path):
    word = HOSTILE[0]
    read = reader.Reader(page(build([make.write_study(tmp_path / "out", word=word)])))
    cells = [cell for table in read.tables for line in table for cell in line]
    assert f"cat {word}" in cells
    assert f"A {word}: scratch" in cells
    assert any(f"net {word}" in text for text in re.findall(r"(?s).+", " ".join(read.texts)))


def test_no_name_makes_an_element_of_the_markdown(report, plain_report, tmp_path):
    found = rendered(report, tmp_path / "one.md")
    wanted = rendered(plain_report, tmp_path / "two.md")
    assert found == wanted


def rendered(report, path):
    """The elements that a CommonMark reader makes of it, HTML let through."""
    write_markdown(report, path)
    text = path.read_text(encoding="utf-8")
    found = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        assert token.type not in ("html_block", "fence"), token.content
        found.append(token.type)
        for child in token.children or []:
            assert child.type != "html_inline", child.content
            if child.type == "image":
                assert re.fullmatch(r"\w+_files/[\w.-]+", child.attrs["src"])
                assert (path.parent / child.attrs["src"]).is_file()
            if child.type not in ("text", "text_special", "softbreak"):
                found.append(child.type)
    return found


def test_no_name_is_a_command_of_latex(report, plain_report):
    found, wanted = tables(report), tables(plain_report)
    assert commands(found) == commands(wanted)
    assert len(found.splitlines()) == len(wanted.splitlines()), "a line break ends a comment"
    body = re.sub(r"(?m)^%.*$", "", found)
    assert body.count("&") - body.count(r"\&") == wanted.count("&"), "another column"
    for line in body.splitlines():
        assert not line.startswith(("[", "*")), "an argument of the line break before"


def commands(text):
    """What LaTeX would run, but for the names of letters."""
    body = re.sub(r"(?m)^%.*$", "", text)
    found = re.findall(r"\\(?:[a-zA-Z]+|.)", body)
    letters = {rf"\{letter}" for letter in "&%$#_{}"} | {
        r"\textbackslash",
        r"\textasciitilde",
        r"\textasciicircum",
    }
    return [command for command in found if command not in letters | {r"\cdot"}]


def test_file_names_of_other_bytes_can_be_written(make, tmp_path, reader):
    folder = make.write_study(tmp_path / "out") / "classify-20"
    make.write_map(folder, ["a", "b"], [b"p\xff.jpg".decode(errors="surrogateescape"), "\ud83d.jpg"])
    report = build([folder.parent])
    read = reader.Reader(page(report).encode().decode())
    assert len(read.scripts) == 4
    write_markdown(report, tmp_path / "report.md")
