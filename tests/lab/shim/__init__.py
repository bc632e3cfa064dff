"""The shim, beside many real connections."""
