"""The messages of the control path: msgpack maps, tagged by `t`, tolerant of unknown fields.

Evolution: add optional fields only; a changed meaning needs a new tag. Secrets never travel: a
session is named by its fingerprint. Commands that name a state are idempotent and are sent again
until the reports agree; those with an epoch are refused when a newer one has been seen.
"""
