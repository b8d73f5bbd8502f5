"""The app's secret, kept only where the user asked for it: in the system's keyring, or in a file of
mode 0600. It is never in the configuration, on a command line, or in a log."""

import importlib.util
from pathlib import Path

import msgspec

from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.secrets import remember
from kitefeed.actors.runtime.whole_file import write_atomically
from kitefeed.protocol import private_files
from kitefeed.protocol.errors import ConfigError, TryLater
from kitefeed.protocol.location import SECRET_VARIABLE, secret_from_environment
from kitefeed.protocol.secret import Secret

FILE_NAME = "api_secret.json"
FILE_BYTES_MAX = 1_024
KEYRING = "kitefeed"  # the service's name there


class _Record(msgspec.Struct):
    api_key: str
    api_secret: str


def path_of(settings: Settings, api_key: str) -> Path:
    """Return the file of this app's secret; the standby's lies beside that of the first app."""
    if api_key == settings.config.kite.api_key:
        return settings.state_dir / FILE_NAME
    return settings.state_dir / f"api_secret.{api_key}.json"


def find(settings: Settings, api_key: str) -> Secret | None:
    """Find this app's secret: in $KITEFEED_API_SECRET, the keyring or the file; None when it is
    kept nowhere. Raises ConfigError for a file that others can read, or that is damaged."""
    given = secret_from_environment(SECRET_VARIABLE) or _from_keyring(api_key)
    if given is None:
        given = _from_file(path_of(settings, api_key), api_key)
    return remember(Secret(given)) if given else None


def keep(settings: Settings, api_key: str, secret: Secret) -> str:
    """Store the secret; return where. Raises TryLater when the disk refuses."""
    if _has_keyring():
        import keyring

        try:
            keyring.set_password(KEYRING, api_key, secret.reveal())
        except keyring.errors.KeyringError:  # none that works here, as on a host without a desktop
            pass
        else:
            return "the system's keyring"
    path = path_of(settings, api_key)
    keep_in_file(path, api_key, secret)
    return str(path)


def keep_in_file(path: Path, api_key: str, secret: Secret) -> None:
    """Store the secret in a file. Raises TryLater when the disk refuses."""
    try:
        write_atomically(path, msgspec.json.encode(_Record(api_key, secret.reveal())))
    except OSError as error:
        raise TryLater(
            f"{path} cannot be written ({error.strerror or error}): make room there or correct its "
            "mode, then keep the secret once more"
        ) from None


def _has_keyring() -> bool:
    return importlib.util.find_spec("keyring") is not None


def _from_keyring(api_key: str) -> str | None:
    if not _has_keyring():
        return None
    import keyring

    try:
        found: str | None = keyring.get_password(KEYRING, api_key)
    except keyring.errors.KeyringError:
        return None
    return found


def _from_file(path: Path, api_key: str) -> str | None:
    try:
        data = private_files.read(path, FILE_BYTES_MAX)
    except private_files.Unsafe as error:
        raise ConfigError(str(error)) from None
    if data is None:
        return None
    try:
        record = msgspec.json.decode(data, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"{path} is damaged: remove it, and keep the secret anew") from None
    return record.api_secret if record.api_key == api_key else None
