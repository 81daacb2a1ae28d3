"""The vendor's world: HTTP and the 27 billing APIs. Knows no Django, no model and nothing else of `usage`."""
