"""The wire: frozen pydantic models of every topic. They hold no behaviour."""
