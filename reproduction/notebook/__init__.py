"""What chapters show beyond figures: tables, views of figures, controls."""
