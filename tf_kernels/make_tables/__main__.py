"""Writes all tables; see `make_tables`."""

import sys

import make_tables

if make_tables.problem():
    sys.exit(make_tables.problem())
for path, text in make_tables.files().items():
    path.write_text(text, encoding="ascii")
