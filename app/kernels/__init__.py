"""The time loops: ``reference`` (plain PyTorch, the definition) and the fast backends that are tested against it."""
