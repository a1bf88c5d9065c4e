"""Who judges. Knows any Denoiser; does not know a family, a loop or a file."""
