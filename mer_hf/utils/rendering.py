"""Fill the templates of reports, which lie beside the modules that use them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, values: dict[str, Any]) -> str:
    """Fill a template; values are escaped in HTML only."""
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=template.name.endswith(".html.j2"),
    )
    return environment.get_template(template.name).render(values)
