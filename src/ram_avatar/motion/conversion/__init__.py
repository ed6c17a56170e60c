"""Conversion between a skeleton's clips and motions of the template."""
