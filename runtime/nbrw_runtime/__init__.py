"""What nbrw needs inside the audited kernel and inside the image.

Few dependencies and the lowest Python supported (3.10): this package is put into every image
as a layer of its own, and it is imported by kernels in which nbrw itself is not installed.
"""

__version__ = "0.1.0"
