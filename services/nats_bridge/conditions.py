"""Writes one line when a condition begins, and one when it is over."""

import logging


class Conditions:
    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._met: set[str] = set()

    def met(self, name: str, sentence: str) -> None:
        if name not in self._met:
            self._met.add(name)
            self._log.error("%s condition=%s", sentence, name)

    def has(self, name: str) -> bool:
        return name in self._met

    def over(self, name: str) -> None:
        if name in self._met:
            self._met.discard(name)
            self._log.info("it is over condition=%s", name)
