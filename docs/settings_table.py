"""Writes the table of settings into operations.md: python docs/settings_table.py."""

import re
from pathlib import Path

from service.command_line import settings_table

page = Path(__file__).parent / "operations.md"
begin, end = "<!-- settings: docs/settings_table.py -->\n", "<!-- end of settings -->"
pattern = re.escape(begin) + ".*?" + re.escape(end)
page.write_text(re.sub(pattern, lambda _: f"{begin}\n{settings_table()}\n{end}", page.read_text(), flags=re.DOTALL))
