"""The faults share the vendor that says byte for byte what a test scripts."""

from tests.wolkvox.conftest import certificate, tls, vendor

__all__ = ["certificate", "tls", "vendor"]
