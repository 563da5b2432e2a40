"""A small Hub on loopback, for the real clients of the Hugging Face Hub to talk to.

It serves dataset repositories to `huggingface_hub` and `datasets` in LFS mode: what they ask for,
in the form in which they ask (huggingface_hub 2.4, datasets 4.0 and 5.2). Repositories live in a
folder and survive the server; every request is logged; faults come on demand. Large files are
stored and served under another host name than the rest, as a CDN is, so that a client which sends
its token there is found out.
"""

from tests.servers.hub.repository import File, Repository
from tests.servers.hub.server import HubServer

__all__ = ["File", "HubServer", "Repository"]
