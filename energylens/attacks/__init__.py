"""Attacks: pure functions ``attack(model, x, y, *, noise, settings) -> AttackResult`` and the table of their rows."""
