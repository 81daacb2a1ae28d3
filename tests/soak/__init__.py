"""Months of polling in minutes, against a vendor that keeps a ledger of the truth: docs/soak.md."""
