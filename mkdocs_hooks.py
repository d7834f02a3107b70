"""What `make docs` does to a page: "`int`, *optional*, defaults to 3" becomes a type and a default."""

import re

ROW = re.compile(r'<tr class="doc-section-item">.*?</tr>', re.DOTALL)
TYPE = re.compile(r"<code>(?:(?P<kind>[^<]*?), )?\*optional\*(?:, defaults to (?P<default>[^<]*))?</code>")
LAST_CELL = re.compile(r"<(em|code)>[^<]*</\1>(?=\s*</td>\s*</tr>)")


def on_page_content(html: str, **_) -> str:
    """Split what transformers' docstrings say of an argument over the columns that mkdocstrings draws."""
    return ROW.sub(lambda row: re.sub(r"(?<=<code>)[^<]*", without_ticks, split(row[0])), html)


def split(row: str) -> str:
    """Move the default of an argument from its type to its column, which may have the name of a constant."""
    found = TYPE.search(row)
    if not found:
        return row
    row = row.replace(found[0], f"<code>{found['kind']}</code>" if found["kind"] else "")
    if found["default"]:
        return LAST_CELL.sub(lambda _: f"<code>{found['default']}</code>", row)
    return row.replace("<em>required</em>", "<em>optional</em>")


def without_ticks(text: re.Match) -> str:
    """Take Markdown's marks from words that are code already."""
    return re.sub(r"\[(?=`)|(?<=`)\]|`", "", text[0])
