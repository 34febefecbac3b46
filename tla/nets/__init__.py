"""What does a network start from, and what of it is trained? ImageNet networks as named stages, and the transfer plan."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
