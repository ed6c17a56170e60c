"""An avatar in its fastest exact form, and as a file for other programs."""
