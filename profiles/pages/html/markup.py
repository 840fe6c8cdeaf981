"""HTML and SVG as text: elements whose every attribute and text is escaped, and the page around."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

from exporter.printable import one_line, plain
from runtimes.device import CLASSES

Attribute = str | float | int


class Markup(str):
    """Text that is markup already; whatever else is text and gets escaped."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: Attribute) -> Markup:
    """`<tag name="value">children</tag>`.

    A trailing underscore of a name is dropped, other underscores become hyphens. Children that are
    no `Markup` are escaped.
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(plain(_text(value)))}"'
        for name, value in attributes.items()
    )
    return Markup(f"<{tag}{given}>{join(children)}</{tag}>")


def picture(media_type: str, content: bytes, words: str) -> Markup:
    """A picture inside the page; `words` say what is on it."""
    data = base64.b64encode(content).decode("ascii")
    return Markup(f'<img src="data:{media_type};base64,{data}" alt="{escape(one_line(words))}">')


def join(children: Iterable[str]) -> Markup:
    """Join parts; what is no markup becomes one line of a bounded length."""
    return Markup("".join(c if isinstance(c, Markup) else escape(one_line(c)) for c in children))


def badge(device_class: str) -> Markup:
    """Draw the class that a number was measured on as a small label."""
    return element("span", device_class, class_=f"badge {known(device_class)}")


def known(device_class: str) -> str:
    """Return the class if it is one; the style sheet has no other."""
    return device_class if device_class in CLASSES else ""


def html_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Markup:
    """Cells may be markup. A table that is too wide scrolls alone."""
    top = element("tr", *(element("th", cell, scope="col") for cell in head))
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    made = element("table", element("thead", top), element("tbody", *body))
    return element("div", made, class_="wide")


def page(title: str, *body: str) -> str:
    """Render a whole page that needs nothing from elsewhere."""
    head = (
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    html = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{html}\n"


def _text(value: Attribute) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


COLOURS = {
    "paper": ("#ffffff", "#14171c"),
    "ink": ("#1b2430", "#e4e8ee"),
    "soft": ("#5b6775", "#9aa5b3"),
    "line": ("#dde2e8", "#2d343e"),
    "a": ("#2f6fb2", "#6aa9e8"),
    "b": ("#b45309", "#e9975f"),
    "c": ("#2f7a42", "#74bd86"),
    "phone": ("#2e7d43", "#6fc486"),
    "emulator": ("#9a6700", "#d9a93f"),
    "simulator": ("#0f6f7a", "#5cc0cc"),
    "simulated": ("#8250b5", "#bb95e6"),
    "host": ("#57616e", "#a3adba"),
    "unknown": ("#8a4b2d", "#d8a184"),
    "warn": ("#b3261e", "#f08a82"),
}
"""Name -> colour on light and on dark paper; what is read has a contrast of 4.5 or more."""


def _colours(at: int) -> str:
    return "".join(f"--{name}:{pair[at]};" for name, pair in COLOURS.items())


STYLE = f"""
:root{{{_colours(0)}}}
@media (prefers-color-scheme:dark){{:root{{{_colours(1)}}}}}
body{{margin:0 auto;max-width:74rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}}
h1{{font-size:1.5rem;margin:0 0 .3rem}}h2{{font-size:1.2rem;margin:2.4rem 0 .3rem;
border-top:1px solid var(--line);padding-top:1.2rem}}h3{{font-size:1rem;margin:1.4rem 0 .2rem}}
p{{margin:.2rem 0 .6rem;overflow-wrap:anywhere}}.soft{{color:var(--soft)}}.warn{{color:var(--warn)}}
.wide{{overflow-x:auto}}table{{border-collapse:collapse;margin:.4rem 0;font-size:.87rem}}
th,td{{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);
vertical-align:top;font-variant-numeric:tabular-nums}}
th{{font-weight:600;color:var(--soft);white-space:nowrap}}.n{{white-space:nowrap}}
.side{{display:flex;gap:.6rem;overflow-x:auto;margin:.4rem 0 1rem}}
.side figure{{margin:0;flex:none;width:13rem}}.side img{{display:block;max-width:13rem}}
figcaption{{font-size:.8rem;overflow-wrap:anywhere}}
.badge{{font-size:.62rem;padding:0 .3em;border:1px solid;border-radius:.5em;margin-left:.35em;
vertical-align:.12em;white-space:nowrap}}
.dense .badge{{display:block;width:fit-content;margin:.1em 0 0}}
svg{{display:block;overflow:visible;width:100%;min-width:34rem;max-width:{760}px;
height:auto;margin:.3rem 0}}
svg text{{font:12px system-ui,sans-serif;fill:var(--ink)}}svg .soft{{fill:var(--soft)}}
svg .tiny{{font-size:10px}}svg .line{{stroke:var(--line);fill:none}}
svg .ink{{stroke:var(--ink);fill:none}}
{"".join(f".{n}{{color:var(--{n})}}svg .{n}{{fill:var(--{n})}}" for n in CLASSES)}
{"".join(f"svg .{n}{{fill:var(--{n});stroke:var(--{n})}}" for n in "abc")}
svg .area{{fill-opacity:.28;stroke-opacity:.7;stroke-width:1}}svg .mid{{stroke-width:2}}
svg .badge{{fill:none;stroke:currentColor}}
"""
