"""Training: for now what makes the two digits classifiers that energylens ships."""
