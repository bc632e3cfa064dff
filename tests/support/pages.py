"""Parts of the documentation that a program writes, each between two marks; tests hold the pages to the programs."""

from typing import NamedTuple

from tests.support.sandbox.namespaces import CHECKOUT


class Part(NamedTuple):
    """What is between `<!-- name -->` and `<!-- /name -->` of a page, a path below docs/."""

    page: str
    name: str

    def read(self) -> str:
        """Return what the page has."""
        _, part, _ = self._split()
        return part

    def write(self, text: str) -> None:
        """Put `text` there."""
        head, _, tail = self._split()
        (CHECKOUT / "docs" / self.page).write_text(head + text + tail)

    def _split(self) -> tuple[str, str, str]:
        text = (CHECKOUT / "docs" / self.page).read_text()
        begin, end = f"<!-- {self.name} -->\n", f"<!-- /{self.name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"docs/{self.page}: no marks {begin.strip()} and {end}")
        head, _, rest = text.partition(begin)
        part, _, tail = rest.partition(end)
        return head + begin, part, end + tail
