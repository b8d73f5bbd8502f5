"""The process that speaks for apprise: one message to one URL, then it ends with an exit code.
Both come on standard input, because others can read a command line."""

import logging
import sys

import msgspec

from kitefeed.actors.runtime import memory
from kitefeed.protocol.exits import Exit


class ApprisePost(msgspec.Struct):
    """The input of this process."""

    url: str
    title: str
    text: str
    wakes: bool


def main() -> int:
    memory.forbid_core_dumps()
    logging.disable()  # apprise's own lines hold URLs
    post = msgspec.json.decode(sys.stdin.buffer.read(), type=ApprisePost)
    try:
        import apprise
    except ModuleNotFoundError:
        return Exit.UNAVAILABLE
    to = apprise.Apprise()
    if not to.add(post.url):
        return Exit.BAD_INPUT
    kind = apprise.NotifyType.FAILURE if post.wakes else apprise.NotifyType.INFO
    is_sent = to.notify(body=post.text, title=post.title, notify_type=kind)
    return Exit.OK if is_sent else Exit.TRY_LATER


if __name__ == "__main__":
    sys.exit(main())
