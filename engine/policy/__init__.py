"""The policy language: a YAML document, checked, versioned and compiled to arrays."""
