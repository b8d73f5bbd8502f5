"""Makes a `Config` of a file and the environment, and one sentence of any mistake in them."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from kitefeed.actors.runtime.config_tables import Config
from kitefeed.actors.runtime.secrets import Secret, remember
from kitefeed.protocol import location
from kitefeed.protocol.errors import ConfigError


def overlaid(data: dict[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return `data` with the settings of the environment, by their dotted names, which go before
    those of the file.

    A value is written as in TOML; a text needs no quotes. A secret may lie in a file that the same
    name with `_FILE` names. Raises ConfigError for a name that is no setting, and for the
    directories: a command without that variable would not find the daemon.
    """
    for place, text in given.items():
        variable = f"${location.variable_of(place)}"
        if place in ("runtime_dir", "state_dir"):
            raise ConfigError(f"{variable}: has to stand in the file, where every command sees it")
        *tables, name = place.split(".")
        try:
            known = _keys_of(".".join(tables))
        except StopIteration:
            known = []
        plain = name.removesuffix("_file")
        if name not in known and plain in known and _is_secret(place.removesuffix("_file")):
            found = location.secret_in_file(variable.removeprefix("$"), text)
            place, name, text = place.removesuffix("_file"), plain, found or ""
            if place in given:
                continue
        if name not in known:
            near = difflib.get_close_matches(name, known or _keys_of(""), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{variable}: {place} is not a setting{hint}")
        table = data
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = _value_of(text, _type_of(place))
    return data


def _value_of(text: str, kind: Any) -> object:
    """Return the text where the setting takes one, else what TOML makes of it."""
    if kind is Secret:
        return text
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # `parse` refuses it, by its place


def _is_secret(place: str) -> bool:
    try:
        return _type_of(place) is Secret
    except StopIteration:
        return False


def _type_of(place: str) -> Any:
    table, _, name = place.rpartition(".")
    fields = msgspec.structs.fields(_table_of(table))
    return next(field.type for field in fields if field.name == name)


def parse(data: dict[str, Any], path: Path) -> Config:
    """Make a Config of `data`. Raises ConfigError naming file, key, and the nearest valid name."""
    try:
        config = msgspec.convert(data, Config, dec_hook=_secret)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error), data)}") from None
    problem = (
        config.kite.problem()
        or config.gateway.problem()
        or config.alerts.problem()
        or config.login.problem(config.session.elsewhere)
        or (config.nats.problem() if config.nats else "")
    )
    if problem:
        raise ConfigError(f"{path}: {problem}")
    return config


def _secret(kind: type, value: Any) -> Secret:
    """Make a Secret, the one kind of setting that TOML does not have."""
    if kind is not Secret or not isinstance(value, str):
        raise ValueError("Expected a text")
    return remember(Secret(value))


def _explain(message: str, data: dict[str, Any]) -> str:
    """Make one sentence of msgspec's: `Object contains unknown field `x` - at `$.kite``."""
    reason, _, where = message.partition(" - at ")
    place = where.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.search(r"unknown field `(.+)`", reason)
    if not unknown:
        # An alert's URL holds a token.
        shown = None if place.startswith("alerts.") or _is_secret(place) else _value_at(data, place)
        given = f" (is {shown!r})" if shown is not None else ""
        return f"{place or 'top level'}: {_in_words(reason, place)}{given}"
    name = unknown.group(1)
    key = f"{place}.{name}" if place else name
    near = difflib.get_close_matches(name, _keys_of(place), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(_keys_of(place))}"
    return f"{key}: is not a setting; {hint}"


# What to write where a value does not match its pattern, by the setting's last name.
_FORMS = {
    "instruments": "write EXCHANGE:SYMBOL, such as NSE:INFY",
    "canaries": "write EXCHANGE:SYMBOL, such as NSE:NIFTY 50",
    "api_key": "write the app's key, letters and digits only",
    "rest_url": "write a URL that starts with https://",
    "login_url": "write a URL that starts with https://",
    "redirect_url": "write the URL that is registered for the app, with http:// or https://",
    "ws_url": "write a URL that starts with wss://",
    "rest_prefix": "write a path, such as /oms, without a slash at its end",
    "at": "write a time of the day in India as HH:MM, such as 08:00",
    "names": "write a host's name or address, such as feed.example.com",
    "listen": "write ADDRESS:PORT with an address of this host, such as 127.0.0.1:8787",
    "servers": "write nats://HOST:PORT, such as nats://127.0.0.1:4222",
    "prefix": "write words of letters, digits, - and _ with dots between, such as kite",
    "tcp": "write tcp://ADDRESS:PORT with an address of this host, such as tcp://127.0.0.1:5556",
}


def _in_words(reason: str, place: str) -> str:
    """Return msgspec's reason with the remedy in it."""
    name = re.sub(r"\[.*?\]", "", place).rpartition(".")[2]
    if "matching regex" in reason:
        return _FORMS.get(name, reason)
    if "Invalid enum value" in reason:
        return f"is none of {', '.join(map(str, _choices(place)))}; write one of them"
    return f"{reason}; correct it"


def _choices(place: str) -> tuple[object, ...]:
    """Return the words that a setting may have."""
    table, _, name = place.rpartition(".")
    kinds = {field.name: field.type for field in msgspec.structs.fields(_table_of(table))}
    return get_args(kinds[name])


def _keys_of(place: str) -> list[str]:
    return [field.name for field in msgspec.structs.fields(_table_of(place))]


def _table_of(place: str) -> type[msgspec.Struct]:
    table: type[msgspec.Struct] = Config
    for name in filter(None, place.split(".")):
        field = next(f for f in msgspec.structs.fields(table) if f.name == name)
        options = [field.type, *get_args(field.type)]
        table = next(t for t in options if isinstance(t, type) and issubclass(t, msgspec.Struct))
    return table


def _value_at(data: Any, place: str) -> object:
    """Look up what the file says at `place` (`kite.api_key`, `instruments[2]`); None if not
    there."""
    for step in re.findall(r"[^.\[\]]+", place):
        try:
            data = data[int(step)] if isinstance(data, list) else data[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return data if isinstance(data, str | int | float | bool) else None
