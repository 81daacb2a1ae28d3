"""Spanish as the operations write it: 1.234,5. Django's own has a space, and browsers' Intl has the point."""

THOUSAND_SEPARATOR = "."
