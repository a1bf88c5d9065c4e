"""Wan2.2 TI2V-5B: diffusers' own networks behind sfv's three parts. Needs the extra sfv[diffusers]."""
