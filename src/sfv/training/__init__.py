"""How models learn. Knows denoisers, codecs and the adversary; does not know diffusers or flags."""
