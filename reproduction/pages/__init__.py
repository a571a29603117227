"""What the landing page and the page on reproducibility show: tables made from verdicts, from runs and from files."""
