"""A gateway that speaks OpenAI's API in front of a memory folder.

Any client of OpenAI gets the memory by changing its base URL. Knows of sleepmem only what is
public; what is stored, recalled and traced is the middleware's.
"""

from sleepmem_openai.app import create_app
from sleepmem_openai.keys import Keys
from sleepmem_openai.limits import Limits
from sleepmem_openai.upstream import Upstream

__version__ = "0.1.0"
__all__ = ["Keys", "Limits", "Upstream", "create_app"]
