"""A package, since other folders have files of these names too."""
