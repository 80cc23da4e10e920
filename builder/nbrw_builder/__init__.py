"""The author's side of nbrw: audits a notebook and packs what it needed into an image."""

from nbrw_runtime import __version__

__all__ = ["__version__"]
