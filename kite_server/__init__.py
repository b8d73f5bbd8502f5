"""Kite's server side, over any market: it meets programs that take us for Kite."""
