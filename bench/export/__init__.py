"""How do trained models get on disk as SavedModels that a model server can load?"""
