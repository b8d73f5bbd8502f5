"""Kite's server side, over any market: what a program meets that takes us for Kite."""
