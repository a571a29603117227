"""Tables of the landing page and the page on reproducibility, made from verdicts, from runs and from files."""
