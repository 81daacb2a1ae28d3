"""The figures to reach, measured in one run on databases of its own: python -m tests.bench

DATABASE_URL names the server (PostgreSQL: new databases there; else new SQLite files). A report covers one month, so
the 1,000,000 daily rows are one month of 200 operations x 162 products; the pages' two months have 8 products each.
Times are medians. Nothing here fails: it prints each ratio with its absolute figures, and whether the goal holds.
"""
