"""Export of trained models as SavedModels."""
