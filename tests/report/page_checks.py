"""What every page must be, whatever it shows: checked on its HTML alone, without a browser."""

import re
from html.parser import HTMLParser

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

VOID = {"meta", "br", "link", "img", "hr", "input", "wbr"}


class Tree(HTMLParser):
    """Elements as (tag, attributes, what is around it), in order; raises where tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.around, self.elements, self.text = [], [], []
        self.feed(html)
        self.close()
        assert not self.around

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.around)))
        if tag not in VOID:
            self.around.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.around)))

    def handle_endtag(self, tag):
        assert self.around.pop()[0] == tag

    def handle_data(self, data):
        if data.strip():
            self.text.append((" ".join(data.split()), tuple(self.around)))

    def all(self, *tags):
        return [element for element in self.elements if element[0] in tags]


def check_page(html: str, use: str = "") -> Tree:
    """Asserts what a screen reader, a keyboard, a phone and a dark room need; `use` is what it must open with."""
    page = Tree(html)
    assert html.startswith("<!doctype html>") and page.all("html")[0][1]["lang"] == "en"
    assert any(a.get("name") == "viewport" and "width=device-width" in a["content"] for _, a, _ in page.all("meta"))
    assert len(page.all("main")) == len(page.all("h1")) == 1
    _opens_with_what_to_use(page, use)
    _headings_in_order(page)
    _names_of_parts(page)
    _tables_scroll_and_captions_do_not(page)
    _figures_for_both_widths(page)
    _badges_once_a_section(page)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@media (prefers-color-scheme: dark)" in style and "@media (max-width: 40rem)" in style
    return page


def _opens_with_what_to_use(page: Tree, use: str) -> None:
    """The paragraph right after the title, before anything else."""
    words = [text for text, around in page.text if ("main", {}) in around and not any(t == "h1" for t, _ in around)]
    first = [a for tag, a, _ in page.elements if tag in ("p", "dl", "table", "section", "figure")][0]
    assert first.get("class") == "use", first
    assert use in " ".join(words[:4]), words[:4]


def _headings_in_order(page: Tree) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def _names_of_parts(page: Tree) -> None:
    ids = [a["id"] for _, a, _ in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, a, _ in page.elements:
        if a.get("role") in ("group", "img", "list", "region") or tag == "nav":
            assert a.get("aria-label", "").strip() not in ("", "table", "()"), (tag, a)
    for tag, a, around in page.all("input", "select"):
        assert "aria-label" in a or any(t == "label" for t, _ in around), (tag, a)


def _tables_scroll_and_captions_do_not(page: Tree) -> None:
    """What is wider than a phone is reached by keyboard; captions stand outside, and are read whole."""
    for _, _, around in page.all("table"):
        box = around[-1][1]
        assert box.get("class") == "scroll" and box.get("tabindex") == "0" and box.get("role") == "group"
    assert not page.all("caption")
    for _, a, around in page.all("p", "figcaption"):
        if a.get("class") in ("caption", "note"):
            assert not any(outer.get("class") == "scroll" for _, outer in around)


def _figures_for_both_widths(page: Tree) -> None:
    drawings = [(a, around) for tag, a, around in page.all("svg")]
    places = [around[-1][1].get("class") for _, around in drawings]
    assert places == ["on-page", "on-phone"] * (len(places) // 2)
    for a, around in drawings:
        assert a["role"] == "img" and a["aria-label"]
        if around[-1][1]["class"] == "on-phone":
            assert float(re.search(r"max-width:(\d+)px", a["style"])[1]) <= 450
        assert any(tag == "figure" for tag, _ in around)


def _badges_once_a_section(page: Tree) -> None:
    """A label stands in a heading; not again and again in every caption below it."""
    seen: dict[int, int] = {}
    for tag, a, around in page.elements:
        if tag == "span" and "badge" in a.get("class", "").split():
            assert around[-1][0] in ("h1", "h2"), around[-1]
            number = sum(1 for t, _, _ in page.elements[: page.elements.index((tag, a, around))] if t == "section")
            seen[number] = seen.get(number, 0) + 1
    assert all(count <= 2 for count in seen.values()), seen


def check_width(figure: Figure) -> None:
    """No text is cut off at the sides, and none is small."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # lays it out
    box = figure.get_tightbbox(canvas.get_renderer())
    assert box.x0 >= -0.03 and box.x1 <= figure.get_figwidth() + 0.03, (box.x0, box.x1, figure.get_figwidth())
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text().strip()]
    assert min(sizes) >= 7
