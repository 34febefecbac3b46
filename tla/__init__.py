"""tla: what does a CNN pretrained on photographs bring to sound, where in the network, and can we trust the answer?"""

__version__ = "0.1.0"
