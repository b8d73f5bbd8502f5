"""TLS with the checks that a client needs; it also says why it refused a certificate.

KiteTicker's own way verifies neither certificate nor host name, though the token is in the URL.
"""

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

# openssl's x509_vfy.h
_OUT_OF_TIME = {9, 10}
_UNKNOWN_SIGNER = {2, 18, 19, 20, 21}


@implementer(IOpenSSLClientConnectionCreator)
class VerifiedTls:
    """TLS for one connection to `host`: the system's authorities (or those of $SSL_CERT_FILE), and
    a certificate for this very host. Twisted judges, in the one verify callback that a connection
    has: setting another would switch its check of the host name off."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._options = ssl.optionsForClientTLS(host)
        self._connection: Any = None

    def clientConnectionForTLS(self, protocol: Any) -> Any:
        self._connection = self._options.clientConnectionForTLS(protocol)
        return self._connection

    def explain(self, reason: Any) -> str | None:
        """Explain the Failure that ended the connection in a sentence; None when TLS is not to
        blame."""
        if reason.check(VerificationError):
            return self._refused(f"belongs to another host than {self._host}")
        if not reason.check(SSL.Error):
            return None
        number = _verify_result(self._connection)
        if number in _OUT_OF_TIME:
            return self._refused("is not valid at this time: is this machine's clock right?")
        if number in _UNKNOWN_SIGNER:
            return self._refused("is not signed by an authority that this machine trusts")
        if number:
            return self._refused(f"cannot be verified (OpenSSL's error {number})")
        return f"TLS with {self._host} failed: {_words(reason.value)}"

    def _refused(self, why: str) -> str:
        return (
            f"TLS refused: the certificate that answers for {self._host} {why}; no token was sent"
        )


def _verify_result(connection: Any) -> int:
    """Return OpenSSL's X509_V_ERR number, 0 for none. pyOpenSSL has no public way to it; if the
    private one goes away the sentence loses its reason, and nothing else."""
    try:
        return int(vars(SSL)["_lib"].SSL_get_verify_result(connection._ssl))
    except (AttributeError, KeyError):
        return 0


def _words(error: SSL.Error) -> str:
    """Return `wrong version number` of `[('SSL routines', '', 'wrong version number')]`."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(entry[-1]) for entry in queue) or type(error).__name__
