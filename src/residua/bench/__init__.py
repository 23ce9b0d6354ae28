"""Benchmarks against other methods and tools; nothing else imports them."""
