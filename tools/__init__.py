"""How the book is made: `python -m tools.book --help`. Nothing in the library depends on this."""
