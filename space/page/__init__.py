"""The page: a file per tab, and what they show."""
