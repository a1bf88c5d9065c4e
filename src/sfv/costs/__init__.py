"""What a model, a clip or a run needs, counted before anything is rented or downloaded."""
