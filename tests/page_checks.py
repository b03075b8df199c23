"""A page read as a browser reads it: what is open, what it refers to, what it says."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "col", "link", "br", "hr", "input"}
SVG_ALONE = {"line", "rect", "circle", "polyline"}


class ReadPage(HTMLParser):
    """The page's elements, attributes and text.

    Attributes:
        elements: (tag, attributes) in order; unbalanced: what is closed but not open, or never closed.
        text: of everything but styles and scripts.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.unbalanced: list[str] = []
        self.styles = self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_ALONE, tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unbalanced.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "style":
            self.styles += data
        elif inside != "script":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of this kind."""
        return [attributes for found, attributes in self.elements if found == tag]


def read_page(html: str) -> ReadPage:
    """The page, found to be whole, alone, and open to everybody."""
    page = ReadPage(html)
    assert not page.unbalanced
    _stands_alone(page)
    _is_open_to_everybody(page)
    return page


def _stands_alone(page: ReadPage) -> None:
    scripts = page.all("script")
    assert len(scripts) == 1 and not scripts[0], "one script, its own"
    assert not page.all("link") and not page.all("iframe") and not page.all("form")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            if name == "src":
                assert value is not None and value.startswith("data:image/")
            elif name == "href":
                assert value is not None and value.startswith("#")
            else:
                assert "://" not in (value or ""), f"{tag} {name}={value}"
    assert "url(" not in page.styles and "@import" not in page.styles
    (policy,) = [item["content"] for item in page.all("meta") if item.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and "default-src 'none'" in policy


def _is_open_to_everybody(page: ReadPage) -> None:
    assert all(item.get("alt") and item.get("width") and item.get("height") for item in page.all("img"))
    assert all(item.get("aria-label") for item in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {item["href"] for item in page.all("a")}
    assert {target for target in targets if target} <= {f"#{name}" for name in ids}
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.all("html")[0].get("lang") == "en"
