from .labelled import LabelledPictures as LabelledPictures
from .labelled import Picture as Picture
from .labelled import picture as picture
from .labelled import pictures as pictures

__all__ = ["LabelledPictures", "Picture", "picture", "pictures"]
