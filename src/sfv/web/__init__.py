"""What every web application of the house needs: upload checks and middleware."""
