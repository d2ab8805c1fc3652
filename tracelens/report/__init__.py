"""Answers to text, JSON, JSON lines and CSV; nothing is computed here."""
