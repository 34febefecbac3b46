"""tla: what does a CNN pretrained on photographs bring to sound, where in the network, and can we trust the answer?"""

import lazy_loader

from tla import entry, interrupts

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # the names in __init__.pyi, loaded when used

if entry.is_command():
    interrupts.install()
