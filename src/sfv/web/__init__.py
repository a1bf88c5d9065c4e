"""What every web application of this package needs: upload checks, middleware and ports."""
