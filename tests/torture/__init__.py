"""Servers that are killed, starved and lied to while mail comes in."""
