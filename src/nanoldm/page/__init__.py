"""One HTML file that runs a model in a browser (docs/page.md)."""

from nanoldm.page.document import write_page

__all__ = ["write_page"]
