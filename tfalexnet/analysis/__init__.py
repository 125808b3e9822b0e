"""Analyses of networks: heatmaps, class maps, nearest pictures, dissimilarities, receptive fields."""
